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
/// compiled for the device. Data that is not tied goes wherever it is needed, as in JAX, where what
/// is tied is called committed.
///
/// What a program of several devices computes is [spread](Spread) over them, or there is a copy on
/// each. Wherever else data is copied or cut for a computation, the copies and the parts are kept,
/// so that nothing goes the same way twice.
pub(crate) struct Array {
    id: u64,
    name: String,
    data: Arc<Data>,
    is_tied: bool,
}

struct Data {
    aval: Aval,
    made: Made,
    host: OnceLock<Arc<HostArray>>,
    buffers: Mutex<Buffers>,
}

/// Where data was made.
enum Made {
    OnHost,
    On(Device),
    /// Of the parts that several devices computed.
    Spread,
}

enum Buffers {
    Live(OnDevices),
    /// The memory was given to the computation that was called here.
    Donated(Location),
}

/// The data in the memory of devices.
#[derive(Clone, Default)]
struct OnDevices {
    /// Copies of all of it.
    copies: Vec<(Device, Arc<Buffer>)>,
    spreads: Vec<Arc<Spread>>,
}

/// Data in as many parts as it is long along an axis, one on each of several devices. The parts do
/// not have the axis.
pub(crate) struct Spread {
    pub axis: usize,
    pub devices: Vec<Device>,
    pub parts: Vec<Buffer>,
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
            made: Made::OnHost,
            host: OnceLock::from(Arc::new(host)),
            buffers: Mutex::new(Buffers::Live(OnDevices::default())),
        };
        Array::new(name, Arc::new(data), false)
    }

    pub fn from_buffer(buffer: Buffer, aval: Aval, device: &Device, is_tied: bool) -> Array {
        let copies = vec![(device.clone(), Arc::new(buffer))];
        let buffers = OnDevices { copies, spreads: Vec::new() };
        Array::from_devices(aval, Made::On(device.clone()), buffers, is_tied)
    }

    /// The data of which each of `devices` has a copy; it is tied to the first one.
    pub fn from_copies(copies: Vec<Buffer>, aval: Aval, devices: &[Device]) -> Array {
        let copies = devices.iter().cloned().zip(copies.into_iter().map(Arc::new)).collect();
        let buffers = OnDevices { copies, spreads: Vec::new() };
        Array::from_devices(aval, Made::On(devices[0].clone()), buffers, true)
    }

    /// The data of which each of several devices has a part.
    pub fn from_spread(spread: Spread, aval: Aval) -> Array {
        let buffers = OnDevices { copies: Vec::new(), spreads: vec![Arc::new(spread)] };
        Array::from_devices(aval, Made::Spread, buffers, true)
    }

    fn from_devices(aval: Aval, made: Made, buffers: OnDevices, is_tied: bool) -> Array {
        let buffers = Mutex::new(Buffers::Live(buffers));
        let data = Data { aval, made, host: OnceLock::new(), buffers };
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

    /// The one device that the data was made on; none if it was made on the host or on several.
    pub fn device(&self) -> Option<&Device> {
        match &self.data.made {
            Made::On(device) => Some(device),
            Made::OnHost | Made::Spread => None,
        }
    }

    /// Whether the data was made on the host, so that there is no computation to wait for.
    pub fn is_of_host(&self) -> bool {
        matches!(self.data.made, Made::OnHost)
    }

    /// The devices that have the data or a part of it.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let live = self.live()?;
        let parts = live.spreads.iter().flat_map(|spread| &spread.devices);
        let mut devices: Vec<Device> = Vec::new();
        for device in live.copies.iter().map(|(device, _)| device).chain(parts) {
            if !devices.contains(device) {
                devices.push(device.clone());
            }
        }
        Ok(devices)
    }

    /// The device that the data is tied to, if it is tied to one. Data that is spread is none for a
    /// program of one device.
    pub fn home(&self) -> Result<Option<&Device>> {
        match &self.data.made {
            Made::Spread => {
                let devices: Vec<String> = self.devices()?.iter().map(Device::to_string).collect();
                Err(Error::new(
                    ErrorKind::Device,
                    format!(
                        "a tensor of type {} is spread over the devices {}, and this runs on one: \
                         bring it there with `to_device`, or use it in a `pmap`",
                        self.aval(),
                        devices.join(", "),
                    ),
                ))
            }
            _ => Ok(self.device().filter(|_| self.is_tied)),
        }
    }

    /// The data on the host, copied from devices the first time.
    pub fn to_host(&self) -> Result<Arc<HostArray>> {
        let live = self.live()?;
        if let Some(host) = self.data.host.get() {
            return Ok(host.clone());
        }
        let host = match (live.copies.first(), live.spreads.first()) {
            (Some((_, buffer)), _) => fetch(buffer, self.aval().clone())?,
            (None, Some(spread)) => {
                let part = self.aval().without_axis(spread.axis);
                let parts: Result<Vec<HostArray>> =
                    spread.parts.iter().map(|buffer| fetch(buffer, part.clone())).collect();
                HostArray::of_parts(self.aval(), spread.axis, &parts?)
            }
            (None, None) => return Err(Error::new(ErrorKind::Device, "the data is on no device")),
        };
        Ok(self.data.host.get_or_init(|| Arc::new(host)).clone())
    }

    /// The data on `device`, copied there the first time.
    pub fn on_device(&self, device: &Device) -> Result<Arc<Buffer>> {
        let found = self.live()?.copies.into_iter().find(|(d, _)| d == device);
        if let Some((_, buffer)) = found {
            return Ok(buffer);
        }
        let buffer = Arc::new(self.copy_to(device)?);
        if let Buffers::Live(buffers) = &mut *self.buffers() {
            buffers.copies.push((device.clone(), buffer.clone()));
        }
        Ok(buffer)
    }

    /// The parts of the data along `axis`, one on each device, cut and copied there the first time.
    /// There must be as many devices as parts.
    pub fn spread_over(&self, axis: usize, devices: &[Device]) -> Result<Arc<Spread>> {
        let mut spreads = self.live()?.spreads.into_iter();
        if let Some(spread) = spreads.find(|s| s.axis == axis && s.devices == devices) {
            return Ok(spread);
        }
        let host = self.to_host()?;
        let part = |(i, device): (usize, &Device)| {
            let part = host.part(axis, i);
            device.client().buffer(device.ordinal(), &part.aval, &part.bytes)
        };
        let parts: Result<Vec<Buffer>> = devices.iter().enumerate().map(part).collect();
        let spread = Arc::new(Spread { axis, devices: devices.to_vec(), parts: parts? });
        if let Buffers::Live(buffers) = &mut *self.buffers() {
            buffers.spreads.push(spread.clone());
        }
        Ok(spread)
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
        let copies = self.live()?.copies;
        if let Some((_, buffer)) = copies.into_iter().find(|(other, _)| is_near(other)) {
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

    fn live(&self) -> Result<OnDevices> {
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

/// The data of a buffer, whose type is `aval`.
fn fetch(buffer: &Buffer, aval: Aval) -> Result<HostArray> {
    let mut bytes = vec![0; aval.byte_size().unwrap_or(0)];
    buffer.to_host(&mut bytes)?;
    Ok(HostArray { aval, bytes })
}
