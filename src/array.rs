//! Concrete arrays: data on the host, on devices, or on both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::aval::Aval;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::host::HostArray;
use crate::pjrt::Buffer;

/// The data of a concrete tensor.
///
/// Data that was made on the host goes to the device of each computation that needs it. Data that a
/// computation made stays on its device until it is read. It is tied to that device if the device
/// was chosen for it: by what it was computed of, by [`moved_to`](Array::moved_to) or by a program
/// compiled for the device. Data that is not tied goes wherever it is needed, as in JAX, where what is
/// tied is called committed.
pub(crate) struct Array {
    id: u64,
    name: String,
    data: Arc<Data>,
    is_tied: bool,
}

struct Data {
    aval: Aval,
    /// The device of the computation that made the data; none if it was made on the host.
    device: Option<Device>,
    host: OnceLock<Arc<HostArray>>,
    buffers: Mutex<Buffers>,
}

enum Buffers {
    Live(Vec<(Device, Arc<Buffer>)>),
    /// The memory was given to the computation that was called here.
    Donated(Location),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The number that the next array gets: those made before have smaller ones.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.load(Ordering::Relaxed)
}

impl Array {
    fn new(name: &str, data: Arc<Data>, is_tied: bool) -> Array {
        Array { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), name: name.to_owned(), data, is_tied }
    }

    pub fn from_host(host: HostArray, name: &str) -> Array {
        let data = Data {
            aval: host.aval.clone(),
            device: None,
            host: OnceLock::from(Arc::new(host)),
            buffers: Mutex::new(Buffers::Live(Vec::new())),
        };
        Array::new(name, Arc::new(data), false)
    }

    pub fn from_buffer(buffer: Buffer, aval: Aval, device: &Device, is_tied: bool) -> Array {
        let data = Data {
            aval,
            device: Some(device.clone()),
            host: OnceLock::new(),
            buffers: Mutex::new(Buffers::Live(vec![(device.clone(), Arc::new(buffer))])),
        };
        Array::new("", Arc::new(data), is_tied)
    }

    /// The same data under another name.
    pub fn renamed(&self, name: &str) -> Array {
        Array::new(name, self.data.clone(), self.is_tied)
    }

    /// What tells this array from every other one of the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What tells the memory of this array from that of arrays which do not share it.
    pub fn memory(&self) -> usize {
        Arc::as_ptr(&self.data) as usize
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn aval(&self) -> &Aval {
        &self.data.aval
    }

    /// The device that the data was made on; none if it was made on the host.
    pub fn device(&self) -> Option<&Device> {
        self.data.device.as_ref()
    }

    /// The device that the data is tied to, if it is tied to one.
    pub fn home(&self) -> Option<&Device> {
        self.device().filter(|_| self.is_tied)
    }

    /// The data on the host, copied from a device the first time.
    pub fn to_host(&self) -> Result<Arc<HostArray>> {
        if let Some(host) = self.data.host.get() {
            self.live()?;
            return Ok(host.clone());
        }
        let buffer = match self.live()?.into_iter().next() {
            Some((_, buffer)) => buffer,
            None => return Err(Error::new(ErrorKind::Device, "the data is on no device")),
        };
        let aval = self.aval().clone();
        let mut bytes = vec![0; aval.byte_size().unwrap_or(0)];
        buffer.to_host(&mut bytes)?;
        Ok(self.data.host.get_or_init(|| Arc::new(HostArray { aval, bytes })).clone())
    }

    /// The data on `device`, copied there the first time.
    pub fn on_device(&self, device: &Device) -> Result<Arc<Buffer>> {
        let found = self.live()?.into_iter().find(|(d, _)| d == device);
        if let Some((_, buffer)) = found {
            return Ok(buffer);
        }
        let buffer = Arc::new(self.copy_to(device)?);
        if let Buffers::Live(buffers) = &mut *self.buffers() {
            buffers.push((device.clone(), buffer.clone()));
        }
        Ok(buffer)
    }

    /// The data tied to `device`: a copy, if it was not made there.
    pub fn moved_to(&self, device: &Device) -> Result<Array> {
        if self.device() == Some(device) {
            self.live()?;
            return Ok(Array::new(&self.name, self.data.clone(), true));
        }
        let copy = Array::from_buffer(self.copy_to(device)?, self.aval().clone(), device, true);
        Ok(copy.renamed(&self.name))
    }

    /// A new copy of the data in the memory of `device`, made without the host if that can be.
    fn copy_to(&self, device: &Device) -> Result<Buffer> {
        // A buffer cannot be copied to the device it is on.
        let is_near = |other: &Device| other != device && other.shares_client_with(device);
        if let Some((_, buffer)) = self.live()?.into_iter().find(|(other, _)| is_near(other)) {
            return buffer.to_device(device.ordinal());
        }
        let host = self.to_host()?;
        device.client().buffer(device.ordinal(), &host.aval, &host.bytes)
    }

    /// Marks the memory as given away by the call at `location`.
    pub fn donate(&self, location: Location) {
        *self.buffers() = Buffers::Donated(location);
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Buffers> {
        // The data is valid at every moment, so a panic of another thread leaves nothing half done.
        self.data.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<Vec<(Device, Arc<Buffer>)>> {
        match &*self.buffers() {
            Buffers::Live(buffers) => Ok(buffers.clone()),
            Buffers::Donated(location) => Err(Error::argument(format!(
                "a tensor of type {} was used after its memory was donated to the call at \
                 {location}: use what that call returned, or do not donate this argument",
                self.aval(),
            ))),
        }
    }
}
