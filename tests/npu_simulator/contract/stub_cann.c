/* The part of CANN that torch_npu 2.13.0 links with or looks up, without a device behind it.
 *
 * prepare.py builds it as libascendcl.so; CANN's other libraries only link to that. Devices are
 * counted, memory is the host's up to STUB_MEMORY_BYTES per process, events are clock readings;
 * every operator "succeeds" and leaves whatever was in its output. So it shows how torch_npu and
 * CANN talk, and never what an NPU computes.
 *
 * CANNSTUB_DEVICES   number of devices, 0 unless set
 */
#define _POSIX_C_SOURCE 200809L
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STUB_MEMORY_BYTES ((size_t)1 << 30)
#define ALIGNMENT ((size_t)512)

enum {
    SUCCESS = 0,
    ERROR_INVALID_DEVICE = 107001,
    ERROR_NO_CONTEXT = 107002,
    ERROR_MEMORY_ALLOCATION = 207001,
    ERROR_NO_DEVICE = 507008
};

static size_t used_bytes;
static int is_set_up;
static __thread int current_device = -1;

static int num_devices(void) {
    const char *text = getenv("CANNSTUB_DEVICES");
    return text ? atoi(text) : 0;
}

static size_t aligned(size_t size) { return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* ---- start, devices ---- */

int aclInit(const char *configuration) {
    (void)configuration;
    return num_devices() ? SUCCESS : ERROR_NO_DEVICE;
}

int aclrtGetDeviceCount(uint32_t *count) {
    *count = (uint32_t)num_devices();
    return SUCCESS;
}

int aclrtSetDevice(int device) {
    if (device < 0 || device >= num_devices()) return ERROR_INVALID_DEVICE;
    current_device = device;
    return SUCCESS;
}

int aclrtGetDevice(int *device) {
    if (current_device < 0) return ERROR_NO_CONTEXT;
    *device = current_device;
    return SUCCESS;
}

int aclrtGetCurrentContext(void **context) {
    static int only_context;
    *context = &only_context;
    return SUCCESS;
}

/* torch_npu refuses chips that it does not know, so it gets to know one. It asks while it sets
 * itself up; once it has a stream, whoever asks wants a name to show, which says what this is. */
const char *aclrtGetSocName(void) {
    if (!num_devices()) return NULL;
    return is_set_up ? "Simulated Ascend910B4" : "Ascend910B4";
}

int aclrtDeviceCanAccessPeer(int *can, int device, int peer) {
    (void)device, (void)peer;
    *can = 1;
    return SUCCESS;
}

const char *aclGetRecentErrMsg(void) { return "(stub CANN)"; }

int aclsysGetCANNVersion(int package, void *version) {
    (void)package, (void)version;
    return 1; /* unknown */
}

/* ---- memory ---- */

int aclrtGetMemInfo(int attribute, size_t *free_bytes, size_t *total_bytes) {
    (void)attribute;
    *total_bytes = STUB_MEMORY_BYTES;
    *free_bytes = STUB_MEMORY_BYTES - used_bytes;
    return SUCCESS;
}

int aclrtMalloc(void **data, size_t size, int policy) {
    (void)policy;
    *data = NULL;
    if (used_bytes + size > STUB_MEMORY_BYTES) return ERROR_MEMORY_ALLOCATION;
    *data = aligned_alloc(ALIGNMENT, aligned(size));
    used_bytes += malloc_usable_size(*data);
    return SUCCESS;
}

int aclrtMallocAlign32(void **data, size_t size, int policy) {
    return aclrtMalloc(data, size, policy);
}

int aclrtMallocHost(void **data, size_t size) {
    *data = aligned_alloc(ALIGNMENT, aligned(size));
    return SUCCESS;
}

int aclrtFree(void *data) {
    used_bytes -= malloc_usable_size(data);
    free(data);
    return SUCCESS;
}

int aclrtFreeHost(void *data) {
    free(data);
    return SUCCESS;
}

int aclrtMemset(void *data, size_t room, int value, size_t size) {
    (void)room;
    memset(data, value, size);
    return SUCCESS;
}

int aclrtMemcpy(void *to, size_t room, const void *from, size_t size, int kind) {
    (void)room, (void)kind;
    memcpy(to, from, size);
    return SUCCESS;
}

int aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t size, int kind,
                     void *stream) {
    (void)stream;
    return aclrtMemcpy(to, room, from, size, kind);
}

/* ---- streams, events ---- */

int aclrtCreateStream(void **stream) {
    *stream = malloc(1);
    is_set_up = 1;
    return SUCCESS;
}

int aclrtCreateStreamWithConfig(void **stream, uint32_t priority, uint32_t flag) {
    (void)priority, (void)flag;
    return aclrtCreateStream(stream);
}

int aclrtCreateEventWithFlag(void **event, uint32_t flag) {
    (void)flag;
    *event = calloc(1, sizeof(struct timespec));
    return SUCCESS;
}

int aclrtCreateEventExWithFlag(void **event, uint32_t flag) {
    return aclrtCreateEventWithFlag(event, flag);
}

int aclrtRecordEvent(void *event, void *stream) {
    (void)stream;
    clock_gettime(CLOCK_MONOTONIC, event);
    return SUCCESS;
}

int aclrtQueryEventStatus(void *event, int *status) {
    (void)event;
    *status = 1; /* complete */
    return SUCCESS;
}

int aclrtEventElapsedTime(float *milliseconds, void *first, void *second) {
    const struct timespec *a = first, *b = second;
    *milliseconds = (float)((double)(b->tv_sec - a->tv_sec) * 1e3 +
                            (double)(b->tv_nsec - a->tv_nsec) / 1e6);
    return SUCCESS;
}

/* ---- settings ---- */

int aclrtGetSysParamOpt(int option, int64_t *value) {
    (void)option;
    *value = 0;
    return SUCCESS;
}

int aclrtCtxGetSysParamOpt(int option, int64_t *value) {
    return aclrtGetSysParamOpt(option, value);
}

/* ---- what is asked for and does nothing ---- */

#define DOES_NOTHING(name) \
    int name(void) { return SUCCESS; }

DOES_NOTHING(MsprofGetHashId)
DOES_NOTHING(MsprofRegisterCallback)
DOES_NOTHING(MsprofReportAdditionalInfo)
DOES_NOTHING(MsprofReportApi)
DOES_NOTHING(MsprofReportCompactInfo)
DOES_NOTHING(MsprofSysCycleTime)
DOES_NOTHING(aclAppLog)
DOES_NOTHING(aclCreateDataBuffer)
DOES_NOTHING(aclCreateTensorDesc)
DOES_NOTHING(aclDestroyDataBuffer)
DOES_NOTHING(aclDestroyTensorDesc)
DOES_NOTHING(aclFinalize)
DOES_NOTHING(aclGetDeviceCapability)
DOES_NOTHING(aclGetTensorDescDimV2)
DOES_NOTHING(aclGetTensorDescFormat)
DOES_NOTHING(aclGetTensorDescNumDims)
DOES_NOTHING(aclGetTensorDescType)
DOES_NOTHING(aclSetCompileopt)
DOES_NOTHING(aclSetTensorDescName)
DOES_NOTHING(aclSetTensorFormat)
DOES_NOTHING(aclSetTensorPlaceMent)
DOES_NOTHING(aclSetTensorShape)
DOES_NOTHING(aclmdlFinalizeDump)
DOES_NOTHING(aclmdlInitDump)
DOES_NOTHING(aclmdlSetDump)
DOES_NOTHING(aclopCompileAndExecute)
DOES_NOTHING(aclopCompileAndExecuteV2)
DOES_NOTHING(aclopCreateAttr)
DOES_NOTHING(aclopDestroyAttr)
DOES_NOTHING(aclopSetAttrBool)
DOES_NOTHING(aclopSetAttrDataType)
DOES_NOTHING(aclopSetAttrFloat)
DOES_NOTHING(aclopSetAttrInt)
DOES_NOTHING(aclopSetAttrListBool)
DOES_NOTHING(aclopSetAttrListFloat)
DOES_NOTHING(aclopSetAttrListInt)
DOES_NOTHING(aclopSetAttrListListInt)
DOES_NOTHING(aclopSetAttrString)
DOES_NOTHING(aclrtBinaryGetFunction)
DOES_NOTHING(aclrtBinaryLoadFromData)
DOES_NOTHING(aclrtCtxSetSysParamOpt)
DOES_NOTHING(aclrtDestroyEvent)
DOES_NOTHING(aclrtDestroyStream)
DOES_NOTHING(aclrtDestroyStreamForce)
DOES_NOTHING(aclrtDeviceEnablePeerAccess)
DOES_NOTHING(aclrtDeviceGetBareTgid)
DOES_NOTHING(aclrtFreePhysical)
DOES_NOTHING(aclrtGetDeviceUtilizationRate)
DOES_NOTHING(aclrtGetFunctionAddr)
DOES_NOTHING(aclrtMallocPhysical)
DOES_NOTHING(aclrtMapMem)
DOES_NOTHING(aclrtMemExportToShareableHandle)
DOES_NOTHING(aclrtMemImportFromShareableHandle)
DOES_NOTHING(aclrtMemSetPidToShareableHandle)
DOES_NOTHING(aclrtProcessReport)
DOES_NOTHING(aclrtReleaseMemAddress)
DOES_NOTHING(aclrtReserveMemAddress)
DOES_NOTHING(aclrtResetDevice)
DOES_NOTHING(aclrtResetEvent)
DOES_NOTHING(aclrtSetCurrentContext)
DOES_NOTHING(aclrtSetDeviceSatMode)
DOES_NOTHING(aclrtSetOpExecuteTimeOut)
DOES_NOTHING(aclrtSetSysParamOpt)
DOES_NOTHING(aclrtStreamWaitEvent)
DOES_NOTHING(aclrtSynchronizeDevice)
DOES_NOTHING(aclrtSynchronizeDeviceWithTimeout)
DOES_NOTHING(aclrtSynchronizeEvent)
DOES_NOTHING(aclrtSynchronizeStream)
DOES_NOTHING(aclrtSynchronizeStreamWithTimeout)
DOES_NOTHING(aclrtUnmapMem)
DOES_NOTHING(rtDevBinaryRegister)
DOES_NOTHING(rtFunctionRegister)
DOES_NOTHING(rtGetC2cCtrlAddr)
DOES_NOTHING(rtKernelLaunch)
