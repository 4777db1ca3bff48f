// Stand-in: XLA's headers name this type behind a shared_ptr and never look inside.
#pragma once

namespace grpc {
class Channel;
}
