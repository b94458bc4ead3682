// A device for PyTorch that computes on the CPU and has a memory of its own size.
//
// It is registered as PrivateUse1, which torch_npu uses too. Tensors lie in host memory and are
// counted against NPUSIM_MEMORY_BYTES per device; operators run through PyTorch's CPU fallback.
// Everything is done when a call returns, so there is one stream and nothing to wait for.
//
// Few headers on purpose: they are nearly all of the time that building takes.

#define AT_PER_OPERATOR_HEADERS
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <mutex>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::Stream;

constexpr c10::DeviceType kNpu = c10::DeviceType::PrivateUse1;
constexpr int kMaxDevices = 16;
constexpr size_t kAlignment = 64;

// ---------------------------------------------------------------------------- the machine

long long number_from(const char* name, long long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : otherwise;
}

// What ASCEND_RT_VISIBLE_DEVICES leaves of the devices: ascending numbers up to the first
// character that is neither digit nor comma, as CANN reads it.
int count_visible(const char* text, int installed) {
  int count = 0;
  long previous = -1;
  while (*text >= '0' && *text <= '9') {
    char* end = nullptr;
    const long index = std::strtol(text, &end, 10);
    if (index <= previous || index >= installed) break;
    previous = index;
    ++count;
    if (*end != ',') break;
    text = end + 1;
  }
  return count;
}

DeviceIndex device_count() {
  static const int count = [] {
    const int installed = static_cast<int>(
        std::clamp<long long>(number_from("NPUSIM_DEVICES", 2), 0, kMaxDevices));
    const char* visible = std::getenv("ASCEND_RT_VISIBLE_DEVICES");
    return visible ? count_visible(visible, installed) : installed;
  }();
  return static_cast<DeviceIndex>(count);
}

size_t capacity_bytes() {
  static const auto bytes =
      static_cast<size_t>(number_from("NPUSIM_MEMORY_BYTES", 4LL << 30));
  return bytes;
}

thread_local DeviceIndex current_device = 0;

// ---------------------------------------------------------------------------- memory

struct Block {
  void* data;
  size_t size;
  DeviceIndex device;
};

struct Usage {
  size_t now = 0;
  size_t peak = 0;
};

class Allocator final : public c10::DeviceAllocator {
 public:
  static Allocator& get() {
    static Allocator* allocator = new Allocator();  // outlives the last tensor
    return *allocator;
  }

  c10::DataPtr allocate(size_t size) override {
    const DeviceIndex device = current_device;
    if (size == 0) return {nullptr, nullptr, &release, Device(kNpu, device)};
    take(device, size);
    const size_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
    auto* block = new Block{std::aligned_alloc(kAlignment, rounded), size, device};
    return {block->data, block, &release, Device(kNpu, device)};
  }

  void copy_data(void* to, const void* from, std::size_t count) const override {
    default_copy_data(to, from, count);
  }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}  // nothing is cached
  void recordStream(const c10::DataPtr&, Stream) override {}
  void resetAccumulatedStats(DeviceIndex) override {}

  void resetPeakStats(DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex_);
    usage_.at(device).peak = usage_.at(device).now;
  }

  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex_);
    c10::CachingDeviceAllocator::DeviceStats stats;
    for (auto* bytes : {&stats.allocated_bytes, &stats.reserved_bytes}) {
      bytes->at(0).current = static_cast<int64_t>(usage_.at(device).now);
      bytes->at(0).peak = static_cast<int64_t>(usage_.at(device).peak);
    }
    return stats;
  }

  std::pair<size_t, size_t> getMemoryInfo(DeviceIndex device) override {
    std::lock_guard<std::mutex> lock(mutex_);
    return {capacity_bytes() - usage_.at(device).now, capacity_bytes()};
  }

 private:
  void take(DeviceIndex device, size_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    Usage& usage = usage_.at(device);
    TORCH_CHECK_WITH(OutOfMemoryError, usage.now + size <= capacity_bytes(),
                     "NPU out of memory. Tried to allocate ", size, " bytes (NPU ",
                     static_cast<int>(device), "; ", capacity_bytes(), " bytes total capacity; ",
                     usage.now, " bytes already allocated; simulated)");
    usage.now += size;
    usage.peak = std::max(usage.peak, usage.now);
  }

  static void release(void* context) {
    if (context == nullptr) return;
    auto* block = static_cast<Block*>(context);
    {
      std::lock_guard<std::mutex> lock(get().mutex_);
      get().usage_.at(block->device).now -= block->size;
    }
    std::free(block->data);
    delete block;
  }

  std::mutex mutex_;
  std::array<Usage, kMaxDevices> usage_;
};

// ---------------------------------------------------------------------------- devices, events

struct Guard final : c10::impl::DeviceGuardImplInterface {
  using Moment = std::chrono::steady_clock::time_point;

  c10::DeviceType type() const override { return kNpu; }
  DeviceIndex deviceCount() const noexcept override { return device_count(); }
  Device getDevice() const override { return Device(kNpu, current_device); }

  Device exchangeDevice(Device device) const override {
    const Device before = getDevice();
    setDevice(device);
    return before;
  }

  void setDevice(Device device) const override {
    TORCH_CHECK(device.index() < device_count(), "Invalid device id npu:",
                static_cast<int>(device.index()), ", there are ",
                static_cast<int>(device_count()));
    uncheckedSetDevice(device);
  }

  void uncheckedSetDevice(Device device) const noexcept override {
    if (device.index() >= 0) current_device = device.index();
  }

  Stream getStream(Device device) const override {
    const DeviceIndex index = device.index() < 0 ? current_device : device.index();
    return Stream(Stream::DEFAULT, Device(kNpu, index));
  }
  Stream getDefaultStream(Device device) const override { return getStream(device); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return getStream(device); }
  Stream getNewStream(Device device, int) const override { return getStream(device); }
  Stream exchangeStream(Stream stream) const override { return getStream(stream.device()); }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}

  void record(void** event, const Stream&, const DeviceIndex, const c10::EventFlag) const override {
    if (*event == nullptr) *event = new Moment;
    *static_cast<Moment*>(*event) = std::chrono::steady_clock::now();
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  void destroyEvent(void* event, const DeviceIndex) const noexcept override {
    delete static_cast<Moment*>(event);
  }
  double elapsedTime(void* first, void* second, const DeviceIndex) const override {
    const auto elapsed = *static_cast<Moment*>(second) - *static_cast<Moment*>(first);
    return std::chrono::duration<double, std::milli>(elapsed).count();
  }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return device_count(); }
  DeviceIndex getCurrentDevice() const override { return current_device; }
  void setCurrentDevice(DeviceIndex index) const override { Guard().setDevice(Device(kNpu, index)); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    return Guard().exchangeDevice(Device(kNpu, index)).index();
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override {
    return exchangeDevice(index);
  }
};

// ---------------------------------------------------------------------------- operators

c10::ScalarType type_or_default(std::optional<at::ScalarType> type) {
  return c10::dtype_or_default(type);
}

Device device_or_current(std::optional<Device> device) {
  return device.value_or(Device(kNpu, current_device));
}

// The same bytes as a tensor of the CPU's.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  TORCH_CHECK(!tensor.is_conj() && !tensor.is_neg(), "lazy conjugation is not simulated");
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(device_or_current(device));
  return at::detail::empty_generic(size, &Allocator::get(),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   type_or_default(type), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<Device> device, std::optional<bool>) {
  const c10::DeviceGuard guard(device_or_current(device));
  return at::detail::empty_strided_generic(size, stride, &Allocator::get(),
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           type_or_default(type));
}

const at::Tensor& resize_(const at::Tensor& self, at::IntArrayRef size,
                          std::optional<at::MemoryFormat>) {
  if (self.sizes() == size) return self;  // or a view would lose its strides
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_sizes_contiguous(size);
  const size_t wanted = (tensor->numel() + tensor->storage_offset()) * self.itemsize();
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (storage->nbytes() < wanted) {
    const c10::DeviceGuard guard(self.device());
    c10::DataPtr data = Allocator::get().allocate(wanted);
    if (storage->nbytes() > 0) {
      Allocator::get().copy_data(data.get(), storage->data(), storage->nbytes());
    }
    storage->set_data_ptr(std::move(data));
    storage->set_nbytes(wanted);
  }
  return self;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  if (self.numel() > 0) on_cpu(to).copy_(on_cpu(self));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  std::optional<at::Tensor> host_bias;
  if (bias && bias->defined()) host_bias = on_cpu(*bias);
  return at::convolution(on_cpu(input), on_cpu(weight), host_bias, stride, padding, dilation,
                         transposed, output_padding, groups)
      .to(input.device());
}

void fall_back(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::native::cpu_fallback(op, stack);
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

const bool registered = [] {
  c10::SetAllocator(kNpu, &Allocator::get());
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

}  // namespace

// torch.accelerator asks torch.npu for this, so torch.npu cannot ask torch.accelerator.
extern "C" int npusim_device_count() { return device_count(); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", static_cast<at::Tensor (*)(const at::Tensor&, at::IntArrayRef)>(&at::native::view));
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &resize_);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("convolution_overrideable", &convolution);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fall_back>());
}
