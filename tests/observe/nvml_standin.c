/* A stand-in for libnvidia-ml.so.1, for machines without a GPU.
 *
 * It has the functions that fanlight.observe.gpu reaches through pynvml, with NVML's signatures.
 * The text file that the environment variable NVML_STANDIN names says what they answer; it is read
 * at each call, so that a test can change it meanwhile. Lines are "key value":
 *
 *     init 18              nvmlInitWithFlags fails with code 18
 *     devices 2            number of GPUs (default 0)
 *     gpu1.handle 15       nvmlDeviceGetHandleByIndex(1) fails with code 15
 *     gpu0.lost 15         every call on GPU 0's handle fails with code 15
 *     gpu0.fail.power 3    one figure fails: name uuid util memory temperature power limit procs3
 *     gpu0.util 37         values: name uuid util used total temperature power limit
 *     gpu0.mig 2           GPU 0 is in MIG mode, with slices gpu0.mig0 and gpu0.mig1 of 7 possible
 *     gpu0.processes 11:4096,12:512      pid:bytes
 *     calls FILE           append a line for each call on a device
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define LONGEST 512

enum { OK = 0, BAD_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { SLOTS = 16, MIG_MAX = 7 };

typedef void *device_t; /* 1 + gpu * SLOTS + (0: the GPU itself, n: its MIG slice n - 1) */
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance, compute_instance;
} process_t;

static int lookup(const char *key, char *value) {
    const char *path = getenv("NVML_STANDIN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[LONGEST];
    size_t length = strlen(key);
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, key, length) && line[length] == ' ') {
            strcpy(value, line + length + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise) {
    char value[LONGEST];
    return lookup(key, value) ? atoll(value) : otherwise;
}

static void key_of(device_t device, const char *field, char *key) {
    long code = (long)device - 1;
    if (code % SLOTS)
        snprintf(key, LONGEST, "gpu%ld.mig%ld.%s", code / SLOTS, code % SLOTS - 1, field);
    else
        snprintf(key, LONGEST, "gpu%ld.%s", code / SLOTS, field);
}

static long long device_number(device_t device, const char *field, long long otherwise) {
    char key[LONGEST];
    key_of(device, field, key);
    return number(key, otherwise);
}

/* The code that a call for this figure answers, after noting the call. */
static int status(device_t device, const char *figure) {
    char key[LONGEST], field[64], path[LONGEST];
    long gpu = ((long)device - 1) / SLOTS;
    if (lookup("calls", path)) {
        FILE *file = fopen(path, "a");
        if (file) {
            fprintf(file, "%s\n", figure);
            fclose(file);
        }
    }
    snprintf(key, sizeof key, "gpu%ld.lost", gpu);
    if (number(key, OK)) return (int)number(key, OK);
    snprintf(field, sizeof field, "fail.%s", figure);
    return (int)device_number(device, field, OK);
}

static int text(device_t device, const char *field, const char *otherwise, char *out, unsigned n) {
    char key[LONGEST], value[LONGEST];
    int code = status(device, field);
    if (code) return code;
    key_of(device, field, key);
    snprintf(out, n, "%s", lookup(key, value) ? value : otherwise);
    return OK;
}

/* A MIG slice reports memory and processes only. */
static int uint_figure(device_t device, const char *field, unsigned otherwise, unsigned *out) {
    int code = status(device, field);
    if (!code && ((long)device - 1) % SLOTS) code = NOT_SUPPORTED;
    if (!code) *out = (unsigned)device_number(device, field, otherwise);
    return code;
}

EXPORT int nvmlInitWithFlags(unsigned flags) { (void)flags; return (int)number("init", OK); }
EXPORT int nvmlShutdown(void) { return OK; }
EXPORT const char *nvmlErrorString(int code) { return code == OK ? "Success" : "stand-in error"; }

EXPORT int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("devices", 0);
    return OK;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
    char key[LONGEST];
    snprintf(key, sizeof key, "gpu%u.handle", index);
    *device = (device_t)(long)(1 + index * SLOTS);
    return (int)number(key, OK);
}

EXPORT int nvmlDeviceGetUUID(device_t device, char *out, unsigned n) {
    char made[64];
    long code = (long)device - 1;
    snprintf(made, sizeof made, "%s-%08lx", code % SLOTS ? "MIG" : "GPU", 0xabc00000 + code);
    return text(device, "uuid", made, out, n);
}

EXPORT int nvmlDeviceGetName(device_t device, char *out, unsigned n) {
    int slice = ((long)device - 1) % SLOTS != 0;
    return text(device, "name", slice ? "Stand-in MIG 1g.10gb" : "Stand-in GPU", out, n);
}

EXPORT int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) {
    int slices = (int)device_number(device, "mig", -1);
    *current = *pending = slices >= 0;
    return slices >= 0 ? OK : NOT_SUPPORTED;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count) {
    (void)device;
    *count = MIG_MAX;
    return OK;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(device_t parent, unsigned index, device_t *device) {
    if ((long long)index >= device_number(parent, "mig", 0)) return NOT_FOUND;
    *device = (device_t)((long)parent + 1 + index);
    return OK;
}

EXPORT int nvmlDeviceGetUtilizationRates(device_t device, utilization_t *out) {
    out->memory = 0;
    return uint_figure(device, "util", 37, &out->gpu);
}

EXPORT int nvmlDeviceGetMemoryInfo(device_t device, memory_t *out) {
    int code = status(device, "memory");
    out->total = (unsigned long long)device_number(device, "total", 16LL << 30);
    out->used = (unsigned long long)device_number(device, "used", 1LL << 30);
    out->free = out->total - out->used;
    return code;
}

EXPORT int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *out) {
    return sensor ? BAD_ARGUMENT : uint_figure(device, "temperature", 51, out);
}

EXPORT int nvmlDeviceGetPowerUsage(device_t device, unsigned *out) {
    return uint_figure(device, "power", 120500, out);
}

EXPORT int nvmlDeviceGetEnforcedPowerLimit(device_t device, unsigned *out) {
    return uint_figure(device, "limit", 300000, out);
}

static int processes(device_t device, unsigned *count, process_t *out) {
    char key[LONGEST], value[LONGEST];
    unsigned n = 0, room = *count;
    key_of(device, "processes", key);
    if (lookup(key, value)) {
        for (char *part = strtok(value, ","); part; part = strtok(NULL, ",")) {
            if (out && n < room) {
                memset(&out[n], 0, sizeof out[n]);
                sscanf(part, "%u:%llu", &out[n].pid, &out[n].used);
            }
            n++;
        }
    }
    *count = n;
    return n > room ? TOO_SMALL : OK;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(device_t d, unsigned *count, process_t *out) {
    int code = status(d, "procs3");
    return code ? code : processes(d, count, out);
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(device_t d, unsigned *count, process_t *out) {
    int code = status(d, "procs2");
    return code ? code : processes(d, count, out);
}
