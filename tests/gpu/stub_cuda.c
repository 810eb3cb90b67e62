/* A libcuda without a GPU: memory is that of the machine, kernels are loaded and never run, so results are zero.
 *
 *   cc -shared -fPIC -O1 -o libcuda.so stub_cuda.c
 *
 * Named libcuda.so.1 it would be found by NVIDIA's compiler, too, which expects the real one.
 *
 * STUB_CUDA_ARCH=90            compute capability (default 9.0)
 * STUB_CUDA_MEMORY=bytes       memory of the device (default 80 GiB); an allocation beyond it fails
 * STUB_CUDA_FAIL=cuName[:n]    from its n-th call on (default 1) this function fails
 * STUB_CUDA_CALLS=file         the names of the functions that were called, one on a line, written when the program ends
 */
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, UNKNOWN = 999 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct function { const char *name; long calls; } functions[128];
static size_t used;

static void write_calls(void) {
    FILE *file = fopen(getenv("STUB_CUDA_CALLS"), "w");
    for (struct function *f = functions; file && f->name; f++) fprintf(file, "%s %ld\n", f->name, f->calls);
    if (file) fclose(file);
}

/* Counts a call and says whether it fails. */
static int call(const char *name) {
    pthread_mutex_lock(&lock);
    if (!functions[0].name && getenv("STUB_CUDA_CALLS")) atexit(write_calls);
    struct function *f = functions;
    while (f->name && strcmp(f->name, name)) f++;
    f->name = name;
    long number = ++f->calls;
    pthread_mutex_unlock(&lock);
    const char *wanted = getenv("STUB_CUDA_FAIL");
    size_t length = strlen(name);
    if (!wanted || strncmp(wanted, name, length) || (wanted[length] && wanted[length] != ':')) return SUCCESS;
    return number >= (wanted[length] ? atol(wanted + length + 1) : 1) ? UNKNOWN : SUCCESS;
}

#define CALL do { int failed = call(__func__); if (failed) return failed; } while (0)

static size_t memory(void) {
    const char *bytes = getenv("STUB_CUDA_MEMORY");
    return bytes ? strtoull(bytes, NULL, 10) : (size_t)80 << 30;
}

/* The device and the driver. */

int cuInit(unsigned flags) { CALL; return SUCCESS; }
int cuDriverGetVersion(int *version) { CALL; *version = 13040; return SUCCESS; }
int cuGetErrorString(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : "unknown error";
    return SUCCESS;
}
int cuGetErrorName(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return SUCCESS;
}
int cuDeviceGetCount(int *count) { CALL; *count = 1; return SUCCESS; }
int cuDeviceGet(int *device, int index) { CALL; *device = index; return SUCCESS; }
int cuDeviceGetName(char *name, int length, int device) { CALL; snprintf(name, length, "Stub GPU"); return SUCCESS; }
int cuDeviceGetUuid_v2(char *uuid, int device) { CALL; memset(uuid, 7, 16); return SUCCESS; }
int cuDeviceGetUuid(char *uuid, int device) { CALL; memset(uuid, 7, 16); return SUCCESS; }
int cuDeviceGetLuid(char *luid, unsigned *mask, int device) { CALL; return UNKNOWN; }
int cuDeviceGetPCIBusId(char *id, int length, int device) { CALL; snprintf(id, length, "0000:01:00.0"); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { CALL; *bytes = memory(); return SUCCESS; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    CALL;
    *total = memory();
    *free_bytes = *total - used;
    return SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    CALL;
    const char *name = getenv("STUB_CUDA_ARCH");
    int arch = name ? atoi(name) : 90;
    switch (attribute) {
    case 1: *value = 1024; break;                               /* threads in a block */
    case 2: case 3: *value = 1024; break;                       /* block x, y */
    case 4: *value = 64; break;                                 /* block z */
    case 5: *value = 2147483647; break;                         /* grid x */
    case 6: case 7: *value = 65535; break;                      /* grid y, z */
    case 8: *value = 49152; break;                              /* shared memory of a block */
    case 10: *value = 32; break;                                /* warp */
    case 12: *value = 65536; break;                             /* registers of a block */
    case 16: *value = 132; break;                               /* multiprocessors */
    case 39: *value = 2048; break;                              /* threads of a multiprocessor */
    case 75: *value = arch / 10; break;
    case 76: *value = arch % 10; break;
    case 81: *value = 233472; break;                            /* shared memory of a multiprocessor */
    case 97: *value = 232448; break;                            /* shared memory of a block, opted in */
    case 115: *value = 1; break;                                /* memory pools */
    default: *value = 0;
    }
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { CALL; *context = functions; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int device) { CALL; return SUCCESS; }
int cuCtxSetCurrent(void *context) { CALL; return SUCCESS; }
int cuCtxGetCurrent(void **context) { CALL; *context = functions; return SUCCESS; }
int cuCtxSynchronize(void) { CALL; return SUCCESS; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { CALL; *least = 0; *greatest = -5; return SUCCESS; }

/* Memory: a block of the machine with its size before it. */

static int allocate(void **at, size_t bytes) {
    pthread_mutex_lock(&lock);
    int fits = used + bytes <= memory();
    used += fits ? bytes : 0;
    pthread_mutex_unlock(&lock);
    size_t *block = fits ? calloc(1, bytes + 512) : NULL;
    if (!block) return OUT_OF_MEMORY;
    *block = bytes;
    *at = (char *)block + 512;
    return SUCCESS;
}
static int release(void *at) {
    size_t *block = (size_t *)((char *)at - 512);
    pthread_mutex_lock(&lock);
    used -= *block;
    pthread_mutex_unlock(&lock);
    free(block);
    return SUCCESS;
}
int cuMemAlloc_v2(void **at, size_t bytes) { CALL; return allocate(at, bytes); }
int cuMemAllocAsync(void **at, size_t bytes, void *stream) { CALL; return allocate(at, bytes); }
int cuMemFree_v2(void *at) { CALL; return release(at); }
int cuMemFreeAsync(void *at, void *stream) { CALL; return release(at); }
int cuMemAllocHost_v2(void **at, size_t bytes) { CALL; return (*at = calloc(1, bytes)) ? SUCCESS : OUT_OF_MEMORY; }
int cuMemFreeHost(void *at) { CALL; free(at); return SUCCESS; }
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) { CALL; memcpy(to, from, bytes); return SUCCESS; }
int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    CALL;
    memcpy(to, from, bytes);
    /* The sum with which Timbre tests a device, 3 * [1, 2, 3, 4] + 0.5, is the only one that this library computes. */
    static const float given[4] = {1, 2, 3, 4}, sum[4] = {3.5, 6.5, 9.5, 12.5};
    if (bytes == sizeof given && !memcmp(to, given, bytes)) memcpy(to, sum, bytes);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) { CALL; memmove(to, from, bytes); return SUCCESS; }
struct copy2d {
    size_t from_x, from_y; int from_type; const char *from_host; const char *from_device; void *from_array; size_t from_pitch;
    size_t to_x, to_y; int to_type; char *to_host; char *to_device; void *to_array; size_t to_pitch;
    size_t width, height;
};
int cuMemcpy2DAsync_v2(const struct copy2d *c, void *stream) {
    CALL;
    const char *from = c->from_type == 1 ? c->from_host : c->from_device;
    char *to = c->to_type == 1 ? c->to_host : c->to_device;
    for (size_t y = 0; y < c->height; y++)
        memcpy(to + (c->to_y + y) * c->to_pitch + c->to_x, from + (c->from_y + y) * c->from_pitch + c->from_x, c->width);
    return SUCCESS;
}
int cuMemsetD8Async(void *at, unsigned char value, size_t bytes, void *stream) { CALL; memset(at, value, bytes); return SUCCESS; }

/* Streams and events: everything is over at once. Each kernel counts as a millisecond, which satisfies whoever measures it. */

static double now;

int cuStreamCreate(void **stream, unsigned flags) { CALL; *stream = malloc(1); return SUCCESS; }
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { CALL; *stream = malloc(1); return SUCCESS; }
int cuStreamDestroy_v2(void *stream) { CALL; return SUCCESS; }
int cuStreamSynchronize(void *stream) { CALL; return SUCCESS; }
int cuStreamQuery(void *stream) { CALL; return SUCCESS; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { CALL; return SUCCESS; }
int cuEventCreate(void **event, unsigned flags) { CALL; *event = calloc(1, sizeof now); return SUCCESS; }
int cuEventRecord(void *event, void *stream) { CALL; *(double *)event = now; return SUCCESS; }
int cuEventQuery(void *event) { CALL; return SUCCESS; }
int cuEventSynchronize(void *event) { CALL; return SUCCESS; }
int cuEventElapsedTime(float *ms, void *start, void *end) {
    CALL;
    *ms = *(double *)end - *(double *)start + 0.001;
    return SUCCESS;
}
int cuEventElapsedTime_v2(float *ms, void *start, void *end) { return cuEventElapsedTime(ms, start, end); }
int cuEventDestroy_v2(void *event) { CALL; free(event); return SUCCESS; }

/* Kernels */

int cuModuleLoadData(void **module, const void *image) { CALL; *module = functions; return SUCCESS; }
int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values) { CALL; *module = functions; return SUCCESS; }
int cuModuleUnload(void *module) { CALL; return SUCCESS; }
int cuModuleGetFunction(void **function, void *module, const char *name) { CALL; *function = functions; return SUCCESS; }
int cuFuncSetAttribute(void *function, int attribute, int value) { CALL; return SUCCESS; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { CALL; *value = 64; return SUCCESS; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) { CALL; now += 1; return SUCCESS; }
int cuLaunchKernelEx(const void *config, void *function, void **arguments, void **extra) { CALL; now += 1; return SUCCESS; }
int cuTensorMapEncodeTiled(void *map, ...) { CALL; memset(map, 0, 128); return SUCCESS; }
int cuTensorMapEncodeIm2col(void *map, ...) { CALL; memset(map, 0, 128); return SUCCESS; }
