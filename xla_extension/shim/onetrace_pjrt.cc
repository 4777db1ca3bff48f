// C functions over PJRT, XLA's interface to devices: clients, devices, buffers and executables, and
// the options of XLA. What can fail returns a text that says why, to be freed with `onetrace_free`,
// or null. No C++ exception leaves a function.

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/globals.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "guarded.h"
#include "memory_pool.h"
#include "xla/debug_options_flags.h"
#include "xla/hlo/builder/xla_computation.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/literal.h"
#include "xla/pjrt/c/pjrt_c_api.h"
#include "xla/pjrt/c_api_client/pjrt_c_api_client.h"
#include "xla/pjrt/pjrt_client.h"
#include "xla/pjrt/pjrt_executable.h"
#include "xla/pjrt/plugin/xla_cpu/xla_cpu_pjrt_client.h"
#include "xla/service/computation_placer.h"
#include "xla/shape_util.h"
#include "xla/tsl/util/command_line_flags.h"

using absl::StrCat;
using onetrace::copy;
using onetrace::guarded;
using xla::PjRtBuffer;
using xla::PjRtClient;
using xla::PjRtDevice;
using xla::PjRtLoadedExecutable;

namespace {

// Moves what a status holds to `*out`.
template <typename T>
absl::Status give(absl::StatusOr<std::unique_ptr<T>> made, T** out) {
  if (made.ok()) *out = made->release();
  return made.status();
}

// While there is one, XLA logs nothing but what ends the process. Threads may have one each.
class Quiet {
 public:
  Quiet() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (count_++ > 0) return;
    logged_ = absl::MinLogLevel();
    absl::SetMinLogLevel(absl::LogSeverityAtLeast::kFatal);
  }
  ~Quiet() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) absl::SetMinLogLevel(logged_);
  }

 private:
  static inline std::mutex mutex_;
  static inline int count_ = 0;
  // What was logged before the first one.
  static inline absl::LogSeverityAtLeast logged_ = absl::LogSeverityAtLeast::kInfo;
};

// Reads an option, written as `--name=value`, into `debug_options`, or into those of the process.
absl::Status read_option(const char* option, xla::DebugOptions* debug_options) {
  std::vector<tsl::Flag> known;
  if (debug_options == nullptr) {
    xla::AppendDebugOptionsFlags(&known);
  } else {
    xla::MakeDebugOptionsFlags(&known, debug_options);
  }
  // What is not known is left behind.
  std::vector<std::string> options = {option};
  // The caller says what is wrong, and better than the parser would.
  const Quiet quiet;
  const bool good = tsl::Flags::Parse(options, known);
  if (!options.empty()) return absl::NotFoundError("unknown option");
  return good ? absl::OkStatus() : absl::InvalidArgumentError("not a value of this option");
}

// An option for one compilation. Truth values are written as in XLA_FLAGS, which the text form of
// these options is not.
xla::CompileOptions::OptionOverride option_override(const std::string& name, std::string value) {
  const auto* field = xla::DebugOptions::descriptor()->FindFieldByName(name);
  const bool is_bool =
      field != nullptr && field->cpp_type() == tsl::protobuf::FieldDescriptor::CPPTYPE_BOOL;
  if (is_bool && (value == "true" || value == "1" || value.empty())) return true;
  if (is_bool && (value == "false" || value == "0")) return false;
  return value;
}

// The options to compile for devices of one client, one replica for each. `options` hold for this
// compilation only, in front of those of the process: names and values, one after the other.
xla::CompileOptions compile_options(PjRtDevice* const* devices, size_t replicas,
                                    const char* const* options, size_t option_count) {
  xla::CompileOptions compile;
  xla::DeviceAssignment assignment(replicas, /*computation_count=*/1);
  for (size_t i = 0; i < replicas; ++i) assignment(i, 0) = devices[i]->id();
  compile.executable_build_options.set_num_replicas(replicas);
  compile.executable_build_options.set_num_partitions(1);
  compile.executable_build_options.set_device_assignment(assignment);
  for (size_t i = 0; i < option_count; ++i) {
    const char* name = options[2 * i];
    compile.env_option_overrides.emplace_back(name, option_override(name, options[2 * i + 1]));
  }
  return compile;
}

#if __has_include("xla/pjrt/plugin/xla_cpu/cpu_memory.h")
// A block of the pool, for as long as XLA needs it.
class Pooled : public xla::CpuMemory {
 public:
  Pooled(onetrace::MemoryPool* pool, void* base, size_t size)
      : pool_(pool), base_(base), size_(size) {}
  ~Pooled() override { pool_->release(base_, size_); }

  void* base() const override { return base_; }
  size_t size_bytes() const override { return size_; }

 private:
  onetrace::MemoryPool* const pool_;
  void* const base_;
  const size_t size_;
};

void use_pool(size_t limit, xla::CpuClientOptions& options) {
  // Never freed: a buffer may be the last thing that ends.
  auto* pool = new onetrace::MemoryPool(limit);
  options.allocator = [pool](size_t size, size_t alignment)
      -> absl::StatusOr<std::unique_ptr<xla::CpuMemory>> {
    void* base = pool->allocate(size, alignment);
    if (base == nullptr) {
      return absl::ResourceExhaustedError(StrCat("the system has no ", size, " bytes"));
    }
    return std::make_unique<Pooled>(pool, base, size);
  };
}
#else
// This version of XLA takes no allocator.
void use_pool(size_t, xla::CpuClientOptions&) {}
#endif

}  // namespace

extern "C" {

// ---- Options ----

// Whether XLA knows an option and takes its value. Changes nothing.
char* onetrace_check_option(const char* option) {
  return guarded([&] {
    xla::DebugOptions scratch = xla::DefaultDebugOptionsIgnoringFlags();
    return read_option(option, &scratch);
  });
}

// The options of the process: a serialized DebugOptions.
char* onetrace_options(char** bytes, size_t* size) {
  return guarded([&] { return give(xla::GetDebugOptionsFromFlags(), bytes, size); });
}

// Sets an option of XLA for all that this process does from now on. No other thread may be using XLA.
char* onetrace_set_option(const char* option) {
  return guarded([&] { return read_option(option, nullptr); });
}

// ---- Clients and devices ----

// A client with as many CPU devices as the options of the process say. Each has threads of its own.
// Memory that is given back is kept for later, up to `kept_bytes` of it.
char* onetrace_cpu_client(size_t kept_bytes, PjRtClient** out) {
  return guarded([&] {
    const int count = xla::GetDebugOptionsFromFlags().xla_force_host_platform_device_count();
    if (count < 1 || count > 1024) {
      return absl::InvalidArgumentError(StrCat(
          "xla_force_host_platform_device_count must be from 1 to 1024, but it is ", count));
    }
    xla::CpuClientOptions options;
    options.asynchronous = false;
    if (kept_bytes > 0) use_pool(kept_bytes, options);
    return give(xla::GetXlaPjrtCpuClient(std::move(options)), out);
  });
}

// Loads a shared library and leaves it loaded.
char* onetrace_load_library(const char* path, void** out) {
  // RTLD_LOCAL keeps a plugin's own copy of XLA away from ours.
  *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (*out != nullptr) return nullptr;
  const char* error = dlerror();
  return copy(error != nullptr ? error : "unknown error");
}

// The interface of a plugin, null if the library is none, and the version of it.
const PJRT_Api* onetrace_plugin_api(void* library, int* major, int* minor) {
  using GetApi = const PJRT_Api* (*)();
  auto get_api = reinterpret_cast<GetApi>(dlsym(library, "GetPjrtApi"));
  const PJRT_Api* api = get_api != nullptr ? get_api() : nullptr;
  if (api != nullptr) {
    *major = api->pjrt_api_version.major_version;
    *minor = api->pjrt_api_version.minor_version;
  }
  return api;
}

// The version of the interface that this library was compiled for.
void onetrace_api_version(int* major, int* minor) {
  *major = PJRT_API_MAJOR;
  *minor = PJRT_API_MINOR;
}

// To be called once for a plugin, before a client is made.
char* onetrace_initialize_plugin(const PJRT_Api* api) {
  return guarded([&] {
    PJRT_Plugin_Initialize_Args args{};
    args.struct_size = PJRT_Plugin_Initialize_Args_STRUCT_SIZE;
    PJRT_Error* error = api->PJRT_Plugin_Initialize(&args);
    if (error == nullptr) return absl::OkStatus();
    PJRT_Error_Message_Args message{};
    message.struct_size = PJRT_Error_Message_Args_STRUCT_SIZE;
    message.error = error;
    api->PJRT_Error_Message(&message);
    absl::Status status =
        absl::InternalError(absl::string_view(message.message, message.message_size));
    PJRT_Error_Destroy_Args destroy{};
    destroy.struct_size = PJRT_Error_Destroy_Args_STRUCT_SIZE;
    destroy.error = error;
    api->PJRT_Error_Destroy(&destroy);
    return status;
  });
}

// A client of a plugin, with options that are true or false.
char* onetrace_plugin_client(const PJRT_Api* api, const char* const* names, const bool* values,
                             size_t count, PjRtClient** out) {
  return guarded([&] {
    absl::flat_hash_map<std::string, xla::PjRtValueType> options;
    for (size_t i = 0; i < count; ++i) options[names[i]] = values[i];
    return give(xla::WrapClientAroundCApi(api, options), out);
  });
}

void onetrace_client_free(PjRtClient* client) { delete client; }

char* onetrace_client_version(const PjRtClient* client) { return copy(client->platform_version()); }

// What programs of the client depend on beside its version: the devices there are, and of a CPU what
// it can do. To be compared, not to be read.
char* onetrace_client_topology(const PjRtClient* client, char** bytes, size_t* size) {
  return guarded([&] {
    auto topology = client->GetTopologyDescription();
    if (!topology.ok()) return topology.status();
    auto serialized = (*topology)->Serialize();
    if (!serialized.ok()) return serialized.status();
    return give(*serialized, bytes, size);
  });
}

// The file of the library that XLA is in, or null.
char* onetrace_library() {
  Dl_info info;
  auto* function = reinterpret_cast<void*>(&xla::GetXlaPjrtCpuClient);
  const bool found = dladdr(function, &info) != 0 && info.dli_fname != nullptr;
  return found ? copy(info.dli_fname) : nullptr;
}

size_t onetrace_client_device_count(const PjRtClient* client) {
  return client->addressable_devices().size();
}

// A device of this process. It lives as long as its client.
PjRtDevice* onetrace_client_device(const PjRtClient* client, size_t index) {
  return client->addressable_devices()[index];
}

char* onetrace_device_kind(const PjRtDevice* device) { return copy(device->device_kind()); }

// Bytes of memory: in use, and all there are for programs (0 if that is not known).
char* onetrace_device_memory(const PjRtDevice* device, int64_t* in_use, int64_t* limit) {
  return guarded([&] {
    absl::StatusOr<tsl::AllocatorStats> stats = device->GetAllocatorStats();
    if (!stats.ok()) return stats.status();
    *in_use = stats->bytes_in_use;
    *limit = stats->bytes_limit.value_or(0);
    return absl::OkStatus();
  });
}

// ---- Buffers ----

// Copies a dense array in row-major order to a device.
char* onetrace_buffer_from_host(PjRtDevice* device, const void* bytes, int primitive_type,
                                const int64_t* dims, size_t rank, PjRtBuffer** out) {
  return guarded([&] {
    absl::StatusOr<xla::PjRtMemorySpace*> memory = device->default_memory_space();
    if (!memory.ok()) return memory.status();
    return give(device->client()->BufferFromHostBuffer(
                    bytes, static_cast<xla::PrimitiveType>(primitive_type),
                    absl::MakeConstSpan(dims, rank), /*byte_strides=*/std::nullopt,
                    PjRtClient::HostBufferSemantics::kImmutableOnlyDuringCall,
                    /*on_done_with_host_buffer=*/[] {}, *memory, /*device_layout=*/nullptr),
                out);
  });
}

// Copies a buffer to the host, dense and in row-major order, and waits for it.
char* onetrace_buffer_to_host(PjRtBuffer* buffer, char* bytes, size_t size) {
  return guarded([&] {
    xla::Shape shape = xla::ShapeUtil::MakeShapeWithDescendingLayout(buffer->element_type(),
                                                                     buffer->dimensions());
    if (xla::ShapeUtil::ByteSizeOf(shape) != static_cast<int64_t>(size)) {
      return absl::InternalError(StrCat(size, " bytes for ", shape.ToString()));
    }
    // XLA:CPU has another thread copy, and waking it takes longer than copying what is small.
    if (buffer->IsOnCpu() && buffer->on_device_shape().layout() == shape.layout()) {
      absl::Status ready = buffer->GetReadyFuture().Await();
      if (!ready.ok()) return ready;
      auto memory = buffer->AcquireExternalReference();
      if (!memory.ok()) return memory.status();
      // Nothing is there where there is no element.
      if (size > 0) std::memcpy(bytes, (*memory)->OpaqueDeviceMemoryDataPointer(), size);
      return absl::OkStatus();
    }
    xla::MutableBorrowingLiteral literal(bytes, shape);
    return buffer->ToLiteral(&literal).Await();
  });
}

// Copies a buffer to another device of its client.
char* onetrace_buffer_to_device(PjRtBuffer* buffer, PjRtDevice* device, PjRtBuffer** out) {
  return guarded([&] {
    absl::StatusOr<xla::PjRtMemorySpace*> memory = device->default_memory_space();
    if (!memory.ok()) return memory.status();
    return give(buffer->CopyToMemorySpace(*memory), out);
  });
}

void onetrace_buffer_free(PjRtBuffer* buffer) { delete buffer; }

// ---- Executables ----

// Compiles a computation for devices of one client, with options as `compile_options` takes them.
char* onetrace_compile(PjRtDevice* const* devices, size_t replicas,
                       const xla::XlaComputation* computation, const char* const* options,
                       size_t option_count, PjRtLoadedExecutable** out) {
  return guarded([&] {
    auto compile = compile_options(devices, replicas, options, option_count);
    return give(devices[0]->client()->CompileAndLoad(*computation, compile), out);
  });
}

// What a computation computes, as bytes to compare: its HloModuleProto without the places in the
// source that it came from.
char* onetrace_computation_key(const xla::XlaComputation* computation, char** bytes, size_t* size) {
  return guarded([&] {
    HloModuleProto module = computation->proto();
    module.clear_stack_frame_index();
    for (auto& of_module : *module.mutable_computations()) {
      for (auto& instruction : *of_module.mutable_instructions()) instruction.clear_metadata();
    }
    return give(module, bytes, size);
  });
}

// A compiled program as bytes, for the same version of XLA and the same kind of device.
char* onetrace_serialize(const PjRtLoadedExecutable* executable, char** bytes, size_t* size) {
  return guarded([&] {
    auto serialized = executable->SerializeExecutable();
    if (!serialized.ok()) return serialized.status();
    return give(*serialized, bytes, size);
  });
}

// The program of `onetrace_serialize`. The arguments are those it was compiled with.
char* onetrace_deserialize(PjRtDevice* const* devices, size_t replicas, const char* bytes,
                           size_t size, const char* const* options, size_t option_count,
                           PjRtLoadedExecutable** out) {
  return guarded([&] {
    auto compile = compile_options(devices, replicas, options, option_count);
    // XLA:CPU compares the features that code was compiled for with those of the machine, and takes
    // for features what tells its compiler which of two ways is faster.
    const Quiet quiet;
    return give(devices[0]->client()->LoadSerializedExecutable(absl::string_view(bytes, size),
                                                               compile, xla::LoadOptions()),
                out);
  });
}

// Runs a program on all its devices, and with `wait` comes back when it is done. `inputs` and
// `outputs` go replica by replica.
char* onetrace_execute(PjRtLoadedExecutable* executable, size_t replicas, PjRtBuffer* const* inputs,
                       size_t input_count, PjRtBuffer** outputs, size_t output_count, bool wait) {
  return guarded([&] {
    std::vector<std::vector<PjRtBuffer*>> arguments;
    for (size_t i = 0; i < replicas; ++i) {
      const auto first = inputs + i * input_count;
      arguments.emplace_back(first, first + input_count);
    }
    std::optional<std::vector<tsl::Future<>>> done;
    if (wait) done.emplace();
    auto results = executable->Execute(arguments, xla::ExecuteOptions(), done);
    if (!results.ok()) return results.status();
    for (auto& of_replica : done.value_or(std::vector<tsl::Future<>>())) {
      absl::Status status = of_replica.Await();
      if (!status.ok()) return status;
    }
    if (results->size() != replicas) {
      return absl::InternalError(StrCat(results->size(), " replicas instead of ", replicas));
    }
    for (const auto& of_replica : *results) {
      if (of_replica.size() != output_count) {
        return absl::InternalError(
            StrCat(of_replica.size(), " results instead of ", output_count));
      }
    }
    for (auto& of_replica : *results) {
      for (auto& result : of_replica) *outputs++ = result.release();
    }
    return absl::OkStatus();
  });
}

// The module that the device runs, after XLA's passes: a serialized HloModuleProto.
char* onetrace_optimized_module(const PjRtLoadedExecutable* executable, char** bytes, size_t* size) {
  return guarded([&] {
    auto modules = executable->GetHloModules();
    if (!modules.ok()) return modules.status();
    if (modules->empty()) return absl::NotFoundError("the backend keeps no module");
    std::string proto;
    if (!modules->front()->ToProto().SerializeToString(&proto)) {
      return absl::InternalError("the module is too large for a protocol buffer");
    }
    *bytes = copy(proto);
    *size = proto.size();
    return absl::OkStatus();
  });
}

// Bytes that a run takes, on the device: arguments, results, temporary memory, arguments that
// results take over, code, and the peak of all (0 if it is not known).
char* onetrace_executable_memory(const PjRtLoadedExecutable* executable, int64_t out[6]) {
  return guarded([&] {
    auto stats = executable->GetCompiledMemoryStats();
    if (!stats.ok()) return stats.status();
    out[0] = stats->argument_size_in_bytes;
    out[1] = stats->output_size_in_bytes;
    out[2] = stats->temp_size_in_bytes;
    out[3] = stats->alias_size_in_bytes;
    out[4] = stats->generated_code_size_in_bytes;
    out[5] = stats->peak_memory_in_bytes;
    return absl::OkStatus();
  });
}

void onetrace_executable_free(PjRtLoadedExecutable* executable) { delete executable; }

}  // extern "C"
