//! PJRT, XLA's interface to devices, through the shim in `xla_extension/shim/onetrace_pjrt.cc`:
//! clients, buffers and compiled programs, each of which frees what it stands for.
//!
//! The `xla` crate wraps PJRT too. It compiles for the first device of a client only and with the
//! options of the process, and keeps the optimized module, memory figures and what went wrong in a
//! plugin to itself.
//!
//! `unsafe` code is only here, in [`xla_ext`](crate::xla_ext), and where options are set. PJRT's
//! objects may be used from many threads at the same time, which makes the types here `Send` and
//! `Sync`.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use xla::XlaComputation;

use crate::aval::Aval;
use crate::error::{Error, ErrorKind, Result};
use crate::lower::{dims, element_type};
use crate::memory::Memory;
use crate::xla_ext::{
    RawComputation, RawError, c_string, outcome, raw_computation, received, take,
};

type RawClient = *mut c_void;
type RawDevice = *mut c_void;
type RawBuffer = *mut c_void;
type RawExecutable = *mut c_void;
type RawLibrary = *mut c_void;
type RawApi = *const c_void;

unsafe extern "C" {
    fn onetrace_check_option(option: *const c_char) -> RawError;
    fn onetrace_set_option(option: *const c_char) -> RawError;
    fn onetrace_options(bytes: *mut *mut c_char, size: *mut usize) -> RawError;
    fn onetrace_library() -> *mut c_char;
    fn onetrace_cpu_client(kept_bytes: usize, out: *mut RawClient) -> RawError;
    fn onetrace_load_library(path: *const c_char, out: *mut RawLibrary) -> RawError;
    fn onetrace_plugin_api(library: RawLibrary, major: *mut c_int, minor: *mut c_int) -> RawApi;
    fn onetrace_api_version(major: *mut c_int, minor: *mut c_int);
    fn onetrace_initialize_plugin(api: RawApi) -> RawError;
    fn onetrace_plugin_client(
        api: RawApi,
        names: *const *const c_char,
        values: *const bool,
        count: usize,
        out: *mut RawClient,
    ) -> RawError;
    fn onetrace_client_free(client: RawClient);
    fn onetrace_client_version(client: RawClient) -> *mut c_char;
    fn onetrace_client_topology(
        client: RawClient,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> RawError;
    fn onetrace_client_device_count(client: RawClient) -> usize;
    fn onetrace_client_device(client: RawClient, index: usize) -> RawDevice;
    fn onetrace_device_kind(device: RawDevice) -> *mut c_char;
    fn onetrace_device_memory(device: RawDevice, in_use: *mut i64, limit: *mut i64) -> RawError;
    fn onetrace_buffer_from_host(
        device: RawDevice,
        bytes: *const u8,
        primitive_type: c_int,
        dims: *const i64,
        rank: usize,
        out: *mut RawBuffer,
    ) -> RawError;
    fn onetrace_buffer_to_host(buffer: RawBuffer, bytes: *mut u8, size: usize) -> RawError;
    fn onetrace_buffer_to_device(
        buffer: RawBuffer,
        device: RawDevice,
        out: *mut RawBuffer,
    ) -> RawError;
    fn onetrace_buffer_free(buffer: RawBuffer);
    fn onetrace_compile(
        devices: *const RawDevice,
        replicas: usize,
        computation: RawComputation,
        options: *const *const c_char,
        option_count: usize,
        out: *mut RawExecutable,
    ) -> RawError;
    fn onetrace_computation_key(
        computation: RawComputation,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> RawError;
    fn onetrace_serialize(
        executable: RawExecutable,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> RawError;
    fn onetrace_deserialize(
        devices: *const RawDevice,
        replicas: usize,
        bytes: *const u8,
        size: usize,
        options: *const *const c_char,
        option_count: usize,
        out: *mut RawExecutable,
    ) -> RawError;
    fn onetrace_execute(
        executable: RawExecutable,
        replicas: usize,
        inputs: *const RawBuffer,
        input_count: usize,
        outputs: *mut RawBuffer,
        output_count: usize,
        wait: bool,
    ) -> RawError;
    fn onetrace_optimized_module(
        executable: RawExecutable,
        bytes: *mut *mut c_char,
        size: *mut usize,
    ) -> RawError;
    fn onetrace_executable_memory(executable: RawExecutable, out: *mut i64) -> RawError;
    fn onetrace_executable_free(executable: RawExecutable);
}

/// What XLA says went wrong: the name of a status code in capitals, a colon and a message.
fn checked(error: RawError) -> Result<(), String> {
    // SAFETY: all functions above return errors of this form.
    unsafe { outcome(error) }
}

/// An object that the shim made.
fn made(error: RawError, object: *mut c_void) -> Result<NonNull<c_void>, String> {
    checked(error)?;
    NonNull::new(object).ok_or_else(|| "XLA made nothing and reported nothing".to_owned())
}

/// Pointers to the texts, which must outlive their use.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

/// Why XLA does not take an option, written as `--name=value`. Nothing is changed.
pub(crate) fn check_option(option: &str) -> Result<(), String> {
    // SAFETY: the shim copies the text.
    checked(unsafe { onetrace_check_option(c_string(option).as_ptr()) })
}

/// Sets an option of XLA, written as `--name=value`, for the process.
///
/// # Safety
/// XLA keeps its options in a variable without a lock: no other thread may use XLA meanwhile.
pub(crate) unsafe fn set_option(option: &str) -> Result<(), String> {
    // SAFETY: the shim copies the text; the caller sees to the rest.
    checked(unsafe { onetrace_set_option(c_string(option).as_ptr()) })
}

/// The options of the process, as bytes to compare.
pub(crate) fn process_options() -> Result<Vec<u8>, String> {
    // SAFETY: the shim gives bytes as `received` wants them.
    unsafe { received(|out, size| onetrace_options(out, size)) }
}

/// What a computation computes, as bytes to compare: the places in the source are left out.
pub(crate) fn computation_key(computation: &XlaComputation) -> Result<Vec<u8>, String> {
    let raw = raw_computation(computation);
    // SAFETY: the computation is alive, and the shim gives bytes as `received` wants them.
    unsafe { received(|out, size| onetrace_computation_key(raw, out, size)) }
}

/// The file that XLA was loaded from, where that is known.
pub(crate) fn library() -> Option<PathBuf> {
    // SAFETY: the shim returns null or a text.
    let path = unsafe {
        let path = onetrace_library();
        (!path.is_null()).then(|| take(path))?
    };
    Some(path.into())
}

/// A plugin that was loaded. It stays for as long as the process lives.
#[derive(Clone, Copy)]
pub(crate) struct Plugin(RawApi);

// SAFETY: the table of functions is constant, and its functions may be called from any thread.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// A version of PJRT's C interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ApiVersion {
    pub major: c_int,
    pub minor: c_int,
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ApiVersion {
    /// The version that this library speaks.
    pub fn ours() -> ApiVersion {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both are places to write to.
        unsafe { onetrace_api_version(&mut major, &mut minor) };
        ApiVersion { major, minor }
    }
}

/// Loads a shared library for good. What it does when it is loaded is its own affair.
fn open(path: &Path) -> Result<RawLibrary, String> {
    let mut library = ptr::null_mut();
    let name = CString::new(path.as_os_str().as_encoded_bytes());
    let name = name.map_err(|_| "a path has no nul in it".to_owned())?;
    // SAFETY: the path is a C string, and `library` a place to write to.
    let error = unsafe { onetrace_load_library(name.as_ptr(), &mut library) };
    Ok(made(error, library)?.as_ptr())
}

/// Loads a shared library that others will look for by its name.
pub(crate) fn preload(path: &Path) -> Result<(), String> {
    open(path).map(drop)
}

impl Plugin {
    /// Loads a plugin and asks for its version; `None` if it has no interface to give. The caller
    /// looks at the version before anything else is done with the plugin.
    pub fn load(path: &Path) -> Result<Option<(Plugin, ApiVersion)>, String> {
        let library = open(path)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the library was loaded; its `GetPjrtApi`, if it has one, is what PJRT says it is.
        let api = unsafe { onetrace_plugin_api(library, &mut major, &mut minor) };
        Ok((!api.is_null()).then_some((Plugin(api), ApiVersion { major, minor })))
    }

    /// To be called once, before a client is made.
    pub fn initialize(self) -> Result<(), String> {
        // SAFETY: the table came from the plugin.
        checked(unsafe { onetrace_initialize_plugin(self.0) })
    }
}

/// The devices of one platform, and what runs on them.
#[derive(Clone)]
pub(crate) struct Client(Arc<OwnedClient>);

struct OwnedClient(NonNull<c_void>);

// SAFETY: a PJRT client may be used from many threads at the same time.
unsafe impl Send for OwnedClient {}
// SAFETY: as above.
unsafe impl Sync for OwnedClient {}

impl Drop for OwnedClient {
    fn drop(&mut self) {
        // SAFETY: everything that belongs to the client keeps it alive, and so is gone.
        unsafe { onetrace_client_free(self.0.as_ptr()) }
    }
}

impl Client {
    /// The CPUs. Up to `kept_bytes` of memory that is given back are kept for later.
    pub fn cpu(kept_bytes: usize) -> Result<Client, String> {
        let mut client = ptr::null_mut();
        // SAFETY: `client` is a place to write to.
        let error = unsafe { onetrace_cpu_client(kept_bytes, &mut client) };
        Ok(Client(Arc::new(OwnedClient(made(error, client)?))))
    }

    pub fn of_plugin(plugin: Plugin, options: &[(&str, bool)]) -> Result<Client, String> {
        let names: Vec<CString> = options.iter().map(|(name, _)| c_string(name)).collect();
        let names = pointers(&names);
        let values: Vec<bool> = options.iter().map(|&(_, value)| value).collect();
        let mut client = ptr::null_mut();
        // SAFETY: both slices have the length passed, and `client` is a place to write to.
        let error = unsafe {
            let (names, count) = (names.as_ptr(), names.len());
            onetrace_plugin_client(plugin.0, names, values.as_ptr(), count, &mut client)
        };
        Ok(Client(Arc::new(OwnedClient(made(error, client)?))))
    }

    fn raw(&self) -> RawClient {
        self.0.0.as_ptr()
    }

    /// The version of the platform: that of its runtime.
    pub fn version(&self) -> String {
        // SAFETY: the client is alive.
        unsafe { take(onetrace_client_version(self.raw())) }
    }

    /// What programs depend on beside the version: the devices there are, and of a CPU what it can
    /// do. To be compared, not to be read.
    pub fn topology(&self) -> Result<Vec<u8>, String> {
        let client = self.raw();
        // SAFETY: the client is alive, and the shim gives bytes as `received` wants them.
        unsafe { received(|out, size| onetrace_client_topology(client, out, size)) }
    }

    /// How many devices this process can use.
    pub fn device_count(&self) -> usize {
        // SAFETY: the client is alive.
        unsafe { onetrace_client_device_count(self.raw()) }
    }

    fn device(&self, ordinal: usize) -> RawDevice {
        assert!(ordinal < self.device_count(), "the device is one of the client");
        // SAFETY: the client is alive, and the index is in range.
        unsafe { onetrace_client_device(self.raw(), ordinal) }
    }

    /// The model of a device, as in `NVIDIA A100`.
    pub fn device_kind(&self, ordinal: usize) -> String {
        // SAFETY: the device lives as long as its client.
        unsafe { take(onetrace_device_kind(self.device(ordinal))) }
    }

    /// Bytes of a device's memory that are in use and that programs can have; `None` if the device
    /// does not tell.
    pub fn device_memory(&self, ordinal: usize) -> Option<(u64, u64)> {
        let (mut in_use, mut limit) = (0, 0);
        // SAFETY: the device lives as long as its client; the others are places to write to.
        let error =
            unsafe { onetrace_device_memory(self.device(ordinal), &mut in_use, &mut limit) };
        checked(error).ok()?;
        Some((u64::try_from(in_use).ok()?, u64::try_from(limit).ok().filter(|&limit| limit > 0)?))
    }

    /// Copies a dense array in row-major order to a device.
    pub fn buffer(&self, ordinal: usize, aval: &Aval, bytes: &[u8]) -> Result<Buffer> {
        assert_eq!(aval.byte_size(), Some(bytes.len()), "the bytes are those of the type");
        let dims = dims(&aval.shape);
        let primitive_type = element_type(aval.dtype).primitive_type() as c_int;
        let mut buffer = ptr::null_mut();
        // SAFETY: the bytes are as many as the type says, and are read during the call only.
        let error = unsafe {
            let (device, bytes) = (self.device(ordinal), bytes.as_ptr());
            let (dims, rank) = (dims.as_ptr(), dims.len());
            onetrace_buffer_from_host(device, bytes, primitive_type, dims, rank, &mut buffer)
        };
        Ok(Buffer { raw: made(error, buffer).map_err(xla_error)?, client: self.clone() })
    }

    /// Compiles a computation.
    pub fn compile(&self, computation: &XlaComputation, build: &Build) -> Result<Executable> {
        let computation = raw_computation(computation);
        self.built(build, |devices, replicas, options, count, out| {
            // SAFETY: `built` gives pointers to as many devices and options as it says, and a place
            // to write to; the computation is alive.
            unsafe { onetrace_compile(devices, replicas, computation, options, count, out) }
        })
    }

    /// The program that [`serialized`](Executable::serialized) gave the bytes of, by the same
    /// version of XLA, for the same kind of device and the same `build`.
    pub fn deserialize(&self, bytes: &[u8], build: &Build) -> Result<Executable> {
        let (start, size) = (bytes.as_ptr(), bytes.len());
        self.built(build, |devices, replicas, options, count, out| {
            // SAFETY: as in `compile`; the bytes are read during the call only.
            unsafe { onetrace_deserialize(devices, replicas, start, size, options, count, out) }
        })
    }

    /// The program that `make` makes of devices, and of names and values of options, one after the
    /// other: two for each that is counted.
    fn built(
        &self,
        build: &Build,
        make: impl FnOnce(
            *const RawDevice,
            usize,
            *const *const c_char,
            usize,
            *mut RawExecutable,
        ) -> RawError,
    ) -> Result<Executable> {
        assert!(!build.ordinals.is_empty(), "a program is compiled for a device");
        let devices: Vec<RawDevice> = build.ordinals.iter().map(|&i| self.device(i)).collect();
        let pairs = build.options.iter();
        let texts: Vec<CString> =
            pairs.flat_map(|(name, value)| [c_string(name), c_string(value)]).collect();
        let texts = pointers(&texts);
        let (replicas, options) = (devices.len(), build.options.len());
        let mut executable = ptr::null_mut();
        let error = make(devices.as_ptr(), replicas, texts.as_ptr(), options, &mut executable);
        let raw = made(error, executable).map_err(xla_error)?;
        Ok(Executable { raw, client: self.clone(), replicas, calls_host: build.calls_host })
    }
}

/// What a program is compiled for.
pub(crate) struct Build<'a> {
    /// The devices, all of one client, with one replica for each.
    pub ordinals: &'a [usize],
    /// Names and values of XLA's options that hold for this compilation only. The last one counts.
    pub options: &'a [(String, String)],
    /// Such a program is done when [`execute`](Executable::execute) comes back.
    pub calls_host: bool,
}

/// Data in the memory of a device.
pub(crate) struct Buffer {
    raw: NonNull<c_void>,
    client: Client,
}

// SAFETY: a PJRT buffer may be used from many threads at the same time.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the buffer is ours, and the client is dropped after it.
        unsafe { onetrace_buffer_free(self.raw.as_ptr()) }
    }
}

impl Buffer {
    /// Copies the data to the host, dense and in row-major order, once it is there. There must be
    /// as many bytes as the type of the buffer has.
    pub fn to_host(&self, bytes: &mut [u8]) -> Result<()> {
        // SAFETY: the slice has the length passed.
        let error =
            unsafe { onetrace_buffer_to_host(self.raw.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        checked(error).map_err(xla_error)
    }

    /// A copy on another device of the same client.
    pub fn to_device(&self, ordinal: usize) -> Result<Buffer> {
        let mut copy = ptr::null_mut();
        // SAFETY: the buffer and the device belong to the same client, which is alive.
        let error = unsafe {
            onetrace_buffer_to_device(self.raw.as_ptr(), self.client.device(ordinal), &mut copy)
        };
        Ok(Buffer { raw: made(error, copy).map_err(xla_error)?, client: self.client.clone() })
    }
}

/// A program that was compiled for devices of a client.
pub(crate) struct Executable {
    raw: NonNull<c_void>,
    client: Client,
    replicas: usize,
    calls_host: bool,
}

// SAFETY: a PJRT executable may be used from many threads at the same time.
unsafe impl Send for Executable {}
// SAFETY: as above.
unsafe impl Sync for Executable {}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the executable is ours, and the client is dropped after it.
        unsafe { onetrace_executable_free(self.raw.as_ptr()) }
    }
}

impl Executable {
    /// Runs the program: one list of arguments for each replica, in the order of the devices it was
    /// compiled for, and as many results of each. A tuple that the program returns counts as its
    /// elements.
    pub fn execute(&self, arguments: &[Vec<&Buffer>], results: usize) -> Result<Vec<Vec<Buffer>>> {
        assert_eq!(arguments.len(), self.replicas, "arguments for each replica");
        let count = arguments.first().map_or(0, Vec::len);
        assert!(arguments.iter().all(|list| list.len() == count), "the same for each replica");
        let inputs: Vec<RawBuffer> =
            arguments.iter().flatten().map(|buffer| buffer.raw.as_ptr()).collect();
        let mut outputs: Vec<RawBuffer> = vec![ptr::null_mut(); self.replicas * results];
        // SAFETY: there are `count` inputs and room for `results` outputs for each replica.
        let error = unsafe {
            let (raw, inputs, outputs) = (self.raw.as_ptr(), inputs.as_ptr(), outputs.as_mut_ptr());
            let wait = self.calls_host;
            onetrace_execute(raw, self.replicas, inputs, count, outputs, results, wait)
        };
        checked(error).map_err(xla_error)?;
        let buffer = |&raw: &RawBuffer| {
            let raw = made(ptr::null_mut(), raw).map_err(xla_error)?;
            Ok(Buffer { raw, client: self.client.clone() })
        };
        let replica = |i: usize| outputs[i * results..][..results].iter().map(buffer).collect();
        (0..self.replicas).map(replica).collect()
    }

    /// The program as bytes for [`Client::deserialize`].
    pub fn serialized(&self) -> Result<Vec<u8>, String> {
        let raw = self.raw.as_ptr();
        // SAFETY: the shim gives bytes as `received` wants them.
        unsafe { received(|out, size| onetrace_serialize(raw, out, size)) }
    }

    /// The module that the device runs, after XLA's passes, as a serialized `HloModuleProto`.
    pub fn optimized_module(&self) -> Result<Vec<u8>> {
        let raw = self.raw.as_ptr();
        // SAFETY: the shim gives bytes as `received` wants them.
        let module = unsafe { received(|out, size| onetrace_optimized_module(raw, out, size)) };
        module.map_err(xla_error)
    }

    /// The memory that a run takes, if the backend tells.
    pub fn memory(&self) -> Option<Memory> {
        let mut bytes = [0; 6];
        // SAFETY: there is room for six numbers.
        let error = unsafe { onetrace_executable_memory(self.raw.as_ptr(), bytes.as_mut_ptr()) };
        checked(error).ok()?;
        let [argument, output, temp, alias, code, peak] =
            bytes.map(|count| u64::try_from(count).unwrap_or(0));
        Some(Memory {
            argument_bytes: argument,
            output_bytes: output,
            temp_bytes: temp,
            alias_bytes: alias,
            code_bytes: code,
            peak_bytes: peak,
        })
    }
}

/// The error for what XLA says went wrong while something was compiled, copied or run.
fn xla_error(text: String) -> Error {
    match text.strip_prefix("RESOURCE_EXHAUSTED: ") {
        Some(message) => Error::new(
            ErrorKind::Device,
            format!(
                "the device is out of memory: {message}\n  make the program or its data smaller, or \
                 drop tensors that are still on the device"
            ),
        ),
        None => Error::new(ErrorKind::Xla, format!("XLA: {text}")),
    }
}
