//! The one value type.

use std::sync::Arc;

use crate::array::Array;
use crate::aval::{Aval, DType, Shape};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::host::{Element, HostArray, Scalar};
use crate::ir::Value;
use crate::ops::broadcast::Broadcast;
use crate::trace::{self, TraceId, poison, record_one};

/// An n-dimensional array, concrete (with data, on the host or a device) or traced (standing for
/// what it will be when the recorded program runs). The same code works on both.
///
/// Operations return a `Tensor`, not a `Result`: a mistake travels with the values that are
/// computed from it and comes out, with the place in the code, where a value does: [`to_vec`],
/// [`check`], the call of a [`jit`](crate::jit)ted function. Cloning is cheap.
///
/// [`to_vec`]: Tensor::to_vec
/// [`check`]: Tensor::check
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0], [3]);
/// let y = (&x * 2.0 + 1.0).tanh();
/// assert_eq!(y.shape(), [3]);
/// assert!((y.to_vec::<f32>()?[0] - 3f32.tanh()).abs() < 1e-6);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor(pub(crate) Repr);

#[derive(Clone)]
pub(crate) enum Repr {
    Concrete(Arc<Array>),
    Traced(TracedValue),
    Poisoned(Arc<Poison>),
}

/// A value of an open trace.
#[derive(Clone)]
pub(crate) struct TracedValue {
    pub trace: TraceId,
    pub value: Value,
    pub aval: Arc<Aval>,
    pub made_at: Location,
}

/// What stands for the result of an operation that failed.
pub(crate) struct Poison {
    pub error: Error,
    /// The type the result might have had: code that asks for a shape still gets one.
    pub aval: Aval,
}

impl Tensor {
    /// The tensor of these elements in row-major order.
    ///
    /// The dtype is that of the [`Element`]; fails if `shape` does not hold as many.
    #[track_caller]
    pub fn new<T: Element>(values: &[T], shape: impl AsRef<[usize]>) -> Tensor {
        match HostArray::new(values, shape.as_ref()) {
            Ok(host) => Tensor::from_host(host, ""),
            Err(error) => poison(error, &[]),
        }
    }

    pub(crate) fn from_host(host: HostArray, name: &str) -> Tensor {
        Tensor(Repr::Concrete(Arc::new(Array::from_host(host, name))))
    }

    /// A scalar, shape `[]`. Floating dtypes take any number; fails if a number is not a value of
    /// the dtype.
    #[track_caller]
    pub fn scalar(value: impl Into<Scalar>, dtype: DType) -> Tensor {
        Tensor::scalar_of(value.into(), dtype)
    }

    #[track_caller]
    pub(crate) fn scalar_of(value: Scalar, dtype: DType) -> Tensor {
        match HostArray::scalar(value, dtype) {
            Ok(host) => Tensor::from_host(host, ""),
            Err(error) => poison(error, &[]),
        }
    }

    /// The tensor of this shape with `value` everywhere; `jnp.full`.
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: impl Into<Scalar>, dtype: DType) -> Tensor {
        let shape = shape.into();
        let scalar = Tensor::scalar_of(value.into(), dtype);
        if shape.is_empty() {
            return scalar;
        }
        // Outside of a trace there is nothing to record, and data is made faster than compiled
        // code.
        if let (false, Repr::Concrete(array)) = (trace::is_tracing(), &scalar.0) {
            return match array.to_host().and_then(|host| host.repeated(&shape)) {
                Ok(host) => Tensor::from_host(host, ""),
                Err(error) => poison(error, &[]),
            };
        }
        record_one(Broadcast { shape, axes: Vec::new() }, &[&scalar])
    }

    /// The tensor of this shape with 0 (or false) everywhere; `jnp.zeros`.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        match dtype {
            DType::Bool => Tensor::full(shape, false, dtype),
            _ => Tensor::full(shape, 0, dtype),
        }
    }

    /// The tensor of this shape with 1 (or true) everywhere; `jnp.ones`.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        match dtype {
            DType::Bool => Tensor::full(shape, true, dtype),
            _ => Tensor::full(shape, 1, dtype),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.aval().dtype
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.aval().shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// The number of elements.
    pub fn size(&self) -> usize {
        self.aval().size()
    }

    /// The dtype and shape.
    pub fn aval(&self) -> &Aval {
        match &self.0 {
            Repr::Concrete(array) => array.aval(),
            Repr::Traced(traced) => &traced.aval,
            Repr::Poisoned(poison) => &poison.aval,
        }
    }

    /// Whether the tensor is a value of an open trace, and so has no data.
    pub fn is_traced(&self) -> bool {
        matches!(self.0, Repr::Traced(_))
    }

    /// The device that the data is on: the one that computed it, or that it was [brought
    /// to](Tensor::to_device). None if the data was made on the host, if there is none, or if it is
    /// [spread](crate::pmap()) over several. Of several that computed the same, the first.
    ///
    /// Data is *tied* to its device if that was chosen for it: by `to_device`, by [a program that
    /// was compiled for it](crate::Lowered::compile_for), or because an argument of the computation
    /// was tied to it. Computations run where their arguments are tied to, and refuse those that
    /// are tied to different devices. What is tied to none goes where it is needed.
    pub fn device(&self) -> Option<Device> {
        match &self.0 {
            Repr::Concrete(array) => array.device().cloned(),
            _ => None,
        }
    }

    /// All devices that have the data or a part of it, copies for computations included.
    ///
    /// # Errors
    /// As [`check`](Tensor::check), and if the memory was donated.
    pub fn devices(&self) -> Result<Vec<Device>> {
        match &self.0 {
            Repr::Concrete(array) => array.devices(),
            Repr::Traced(_) => Ok(Vec::new()),
            Repr::Poisoned(poison) => Err(poison.error.clone()),
        }
    }

    /// The tensor, tied to a device: a copy there, or the same data if it is there.
    /// `jax.device_put`.
    ///
    /// Between devices of one platform the data does not go through the memory of the host, unless
    /// it is spread over several.
    ///
    /// # Errors
    /// If the tensor is traced, if a mistake was made on the way here, or if the computation that
    /// makes it or the copy fails, as when the device is out of memory.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::ones([2], DType::F32);
    /// assert_eq!(x.device(), None);
    /// let x = x.to_device(&Device::cpu()?)?;
    /// assert_eq!((x * 2.0).device(), Some(Device::cpu()?));
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        let location = std::panic::Location::caller();
        match &self.0 {
            Repr::Poisoned(poison) => Err(poison.error.clone()),
            Repr::Traced(traced) => Err(Error::new(
                ErrorKind::Escaped,
                format!(
                    "to_device: a traced tensor of type {} has no data yet: it is on the device that \
                     the traced function will run on",
                    traced.aval,
                ),
            )
            .at(location)),
            Repr::Concrete(array) => match array.moved_to(device) {
                Ok(array) => Ok(Tensor(Repr::Concrete(Arc::new(array)))),
                Err(error) => Err(error.at(location)),
            },
        }
    }

    /// Whether every operation that led to this tensor was well formed.
    ///
    /// # Errors
    /// The first mistake that was made on the way here.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Repr::Poisoned(poison) => Err(poison.error.clone()),
            _ => Ok(()),
        }
    }

    /// The elements in row-major order, copied from the device where they are there.
    ///
    /// # Errors
    /// If `T` is not the element type, if the tensor is traced, if a mistake was made on the way
    /// here, or if the computation failed.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let location = std::panic::Location::caller();
        self.to_host().and_then(|host| host.to_vec()).map_err(|error| error.at(location))
    }

    /// The one element of a tensor of size one.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec), and if there is not exactly one element.
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        let location = std::panic::Location::caller();
        match self.to_vec()?[..] {
            [element] => Ok(element),
            _ => {
                let message = format!("item: {} has not exactly one element", self.aval());
                Err(Error::shape(message).at(location))
            }
        }
    }

    /// Whether the two are one value, and not only equal ones.
    pub(crate) fn is_same(&self, other: &Tensor) -> bool {
        match (&self.0, &other.0) {
            (Repr::Concrete(a), Repr::Concrete(b)) => a.id() == b.id(),
            (Repr::Traced(a), Repr::Traced(b)) => a.trace == b.trace && a.value == b.value,
            (Repr::Poisoned(a), Repr::Poisoned(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    pub(crate) fn to_host(&self) -> Result<Arc<HostArray>> {
        match &self.0 {
            Repr::Concrete(array) => array.to_host(),
            Repr::Poisoned(poison) => Err(poison.error.clone()),
            Repr::Traced(traced) => Err(Error::new(
                ErrorKind::Escaped,
                format!(
                    "the data of a traced tensor of type {} cannot be read: it has none until the \
                     traced function runs\n  made at {}",
                    traced.aval, traced.made_at,
                ),
            )),
        }
    }

    /// The tensor under a name that the IR and the HLO show where it becomes a constant. Traced
    /// tensors stay as they are.
    pub fn named(self, name: &str) -> Tensor {
        match self.0 {
            Repr::Concrete(array) => Tensor(Repr::Concrete(Arc::new(array.renamed(name)))),
            _ => self,
        }
    }
}

/// Shows the data of a concrete tensor and the type of a traced one.
impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Repr::Traced(_) => write!(f, "traced {}", self.aval()),
            Repr::Poisoned(poison) => write!(f, "failed: {}", poison.error),
            Repr::Concrete(_) if trace::is_tracing() => write!(f, "{}", self.aval()),
            Repr::Concrete(array) => match array.to_host() {
                Ok(host) => {
                    let shown = host.element_texts(64);
                    let more = if self.size() > shown.len() { ", ..." } else { "" };
                    write!(f, "{}({}{more})", self.aval(), shown.join(", "))
                }
                Err(error) => write!(f, "{}: {error}", self.aval()),
            },
        }
    }
}
