// Before a backward pass torch asks the CUDA hooks whether device 0 has a context, and without a driver they raise. This
// replaces that one virtual function by one that returns false. Its place in the table comes from torch's own headers.
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstdint>
#include <cstring>

namespace {
using Hooks = at::AcceleratorHooksInterface;
void** slot = nullptr;
void* original = nullptr;

bool no_context(const void*, c10::DeviceIndex) { return false; }

// Through a volatile pointer, so that the compiler cannot skip the table.
bool answer() {
  const Hooks* volatile hooks = &at::detail::getCUDAHooks();
  return hooks->hasPrimaryContext(0);
}

bool write(void* value) {
  const auto size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(slot) & ~(size - 1));
  if (mprotect(page, size, PROT_READ | PROT_WRITE) != 0) return false;
  *slot = value;
  return mprotect(page, size, PROT_READ) == 0;
}
}  // namespace

// 0: patched; 1: the function is not virtual as expected; 2: the table does not point into torch; 3: the page cannot be
// written; 4: the patched function is not the one that is called, and the table is as before.
extern "C" int patch() {
  bool (Hooks::*member)(c10::DeviceIndex) const = &Hooks::hasPrimaryContext;
  uintptr_t offset;
  std::memcpy(&offset, &member, sizeof(offset));
  if ((offset & 1) == 0 || offset > 8 * 200) return 1;  // Itanium ABI: one more than the offset of a virtual function
  const Hooks& hooks = at::detail::getCUDAHooks();
  slot = reinterpret_cast<void**>(*reinterpret_cast<char* const*>(&hooks) + offset - 1);
  Dl_info info;
  if (dladdr(*slot, &info) == 0 || std::strstr(info.dli_fname, "torch") == nullptr) return 2;
  original = *slot;
  if (!write(reinterpret_cast<void*>(&no_context))) return 3;
  try {
    if (!answer()) return 0;
  } catch (...) {
  }
  write(original);
  return 4;
}

extern "C" int restore() { return original != nullptr && write(original) ? 0 : 3; }
