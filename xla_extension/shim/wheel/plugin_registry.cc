// The PJRT plugin registry. XLA has one, but the TensorFlow wheel's library does not export it.
#include <dlfcn.h>

#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "xla/pjrt/c/pjrt_c_api.h"
#include "xla/pjrt/c_api_client/pjrt_c_api_client.h"
#include "xla/pjrt/pjrt_api.h"

namespace pjrt {
namespace {

struct Plugin {
  const PJRT_Api* api;
  bool initialized;
};

struct Registry {
  std::mutex mutex;
  absl::flat_hash_map<std::string, Plugin> plugins;  // keys in lower case
};

// Never destroyed: a plugin's threads may outlive main.
Registry& GetRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

absl::Status NotRegistered(absl::string_view device_type) {
  return absl::NotFoundError(
      absl::StrCat("no PJRT plugin is registered for device type '", device_type, "'"));
}

// Takes the error's text and frees it.
absl::Status Consume(const PJRT_Api* api, absl::string_view what, PJRT_Error* error) {
  PJRT_Error_Message_Args message{};
  message.struct_size = PJRT_Error_Message_Args_STRUCT_SIZE;
  message.error = error;
  api->PJRT_Error_Message(&message);
  absl::Status status = absl::InternalError(
      absl::StrCat(what, ": ", absl::string_view(message.message, message.message_size)));

  PJRT_Error_Destroy_Args destroy{};
  destroy.struct_size = PJRT_Error_Destroy_Args_STRUCT_SIZE;
  destroy.error = error;
  api->PJRT_Error_Destroy(&destroy);
  return status;
}

}  // namespace

absl::StatusOr<const PJRT_Api*> PjrtApi(absl::string_view device_type) {
  Registry& registry = GetRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  auto found = registry.plugins.find(absl::AsciiStrToLower(device_type));
  if (found == registry.plugins.end()) return NotRegistered(device_type);
  return found->second.api;
}

absl::StatusOr<const PJRT_Api*> LoadPjrtPlugin(absl::string_view device_type,
                                               absl::string_view library_path) {
  const std::string path(library_path);
  // RTLD_LOCAL keeps a plugin's own copy of XLA away from ours.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::NotFoundError(absl::StrCat("cannot load the PJRT plugin: ", dlerror()));
  }
  using GetApi = const PJRT_Api* (*)();
  auto get_api = reinterpret_cast<GetApi>(dlsym(library, "GetPjrtApi"));
  if (get_api == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "' is not a PJRT plugin: it exports no GetPjrtApi"));
  }
  const PJRT_Api* api = get_api();
  if (api == nullptr) {
    return absl::InternalError(absl::StrCat("GetPjrtApi of '", path, "' returned null"));
  }

  Registry& registry = GetRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  auto [place, added] =
      registry.plugins.try_emplace(absl::AsciiStrToLower(device_type), Plugin{api, false});
  if (!added) {
    return absl::AlreadyExistsError(
        absl::StrCat("a PJRT plugin is already registered for device type '", device_type, "'"));
  }
  return api;
}

absl::StatusOr<bool> IsPjrtPluginInitialized(absl::string_view device_type) {
  Registry& registry = GetRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  auto found = registry.plugins.find(absl::AsciiStrToLower(device_type));
  if (found == registry.plugins.end()) return NotRegistered(device_type);
  return found->second.initialized;
}

absl::Status InitializePjrtPlugin(absl::string_view device_type) {
  Registry& registry = GetRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  auto found = registry.plugins.find(absl::AsciiStrToLower(device_type));
  if (found == registry.plugins.end()) return NotRegistered(device_type);
  Plugin& plugin = found->second;
  if (plugin.initialized) return absl::OkStatus();

  PJRT_Plugin_Initialize_Args args{};
  args.struct_size = PJRT_Plugin_Initialize_Args_STRUCT_SIZE;
  if (PJRT_Error* error = plugin.api->PJRT_Plugin_Initialize(&args)) {
    return Consume(plugin.api, "PJRT_Plugin_Initialize", error);
  }
  plugin.initialized = true;
  return absl::OkStatus();
}

}  // namespace pjrt

namespace xla {

// The library's own function of this name would ask its hidden registry, which stays empty.
absl::StatusOr<std::unique_ptr<PjRtClient>> GetCApiClient(
    absl::string_view device_type,
    const absl::flat_hash_map<std::string, PjRtValueType>& create_options,
    std::shared_ptr<KeyValueStoreInterface> kv_store) {
  absl::StatusOr<const PJRT_Api*> api = pjrt::PjrtApi(device_type);
  if (!api.ok()) return api.status();
  return WrapClientAroundCApi(*api, create_options, std::move(kv_store));
}

}  // namespace xla
