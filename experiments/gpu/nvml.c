/* A stand-in for NVIDIA's library: libnvidia-ml.so.1 of a host without a GPU, found by LD_LIBRARY_PATH.

       cc -shared -fPIC -pthread -o FOLDER/libnvidia-ml.so.1 experiments/gpu/nvml.c

   What its calls answer, a file says, which is read at each call: $HARNESS_INSIDE.nvml. It is YAML, a line a call:

       nvmlDeviceGetCount_v2: 2                            # as long as nothing says how many, NO_PERMISSION: no card shows
       1.nvmlDeviceGetPowerUsage: UNKNOWN                  # an error, by its name without NVML_ERROR_; of card 1 alone
       nvmlDeviceGetTotalEccErrors: 0 0 after 4 0 3        # from the fifth call on other answers
       nvmlEventSetWait_v2: TIMEOUT after 2 0 79 after 3 TIMEOUT    # card 0, XID 79, once
       all: never                                          # every call that has no line of its own waits

   A card of which nothing is said is well: an H200 that works. Signatures, structures and codes are those of nvml.h. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, TIMEOUT = 10, UNKNOWN = 999 };
enum { CARDS = 16, KEYS = 64, LENGTH = 256, NO_CARD = -1, POLL_US = 20000 };
enum { XID_CRITICAL_ERROR = 8 };

typedef void *nvmlDevice_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;

static const struct { const char *name; int code; } ERRORS[] = {
    {"UNINITIALIZED", 1}, {"INVALID_ARGUMENT", 2}, {"NOT_SUPPORTED", 3}, {"NO_PERMISSION", 4}, {"NOT_FOUND", 6},
    {"DRIVER_NOT_LOADED", 9}, {"TIMEOUT", 10}, {"IRQ_ISSUE", 11}, {"GPU_IS_LOST", 15}, {"RESET_REQUIRED", 16},
    {"LIB_RM_VERSION_MISMATCH", 18}, {"MEMORY", 20}, {"UNKNOWN", 999},
};

static const struct { const char *call, *answer; } WELL[] = {
    {"nvmlInitWithFlags", "0"},
    {"nvmlDeviceGetCount_v2", "NO_PERMISSION"},
    {"nvmlDeviceGetHandleByIndex_v2", "0"},
    {"nvmlDeviceGetName", "NVIDIA H200"},
    {"nvmlDeviceGetMigMode", "NOT_SUPPORTED"},
    {"nvmlDeviceGetUtilizationRates", "62 31"},          /* percent: gpu, memory */
    {"nvmlDeviceGetMemoryInfo", "9663676416 150754820096"}, /* bytes: used, total */
    {"nvmlDeviceGetTemperature", "61"},
    {"nvmlDeviceGetPowerUsage", "250500"},               /* milliwatts */
    {"nvmlDeviceGetClockInfo", "1980 1980 3201"},        /* megahertz: graphics, sm, memory */
    {"nvmlDeviceGetCurrentClocksEventReasons", "0"},
    {"nvmlDeviceGetTotalEccErrors", "0 0"},              /* corrected, uncorrected */
    {"nvmlEventSetCreate", "0"},
    {"nvmlDeviceRegisterEvents", "0"},
    {"nvmlEventSetWait_v2", "TIMEOUT"},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stat known;                                 /* of the file that the calls were counted under */
static struct { char key[LENGTH]; unsigned long calls; } counted[KEYS];
static char cards[CARDS], events;                         /* whose addresses are the handles */

/* The line of a key in the file, without it and without a comment; 0 where there is none. */
static int line_of(FILE *file, const char *key, char *text) {
    char line[LENGTH], *end;
    rewind(file);
    while (fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) || line[length] != ':') continue;
        if ((end = strstr(line, " #"))) *end = 0;
        strcpy(text, line + length + 1 + strspn(line + length + 1, " "));
        text[strcspn(text, "\r\n")] = 0;
        for (end = text + strlen(text); end > text && end[-1] == ' ';) *--end = 0;
        return 1;
    }
    return 0;
}

/* How often a call was made of a card since the file says what it says; with this time, if it counts. */
static unsigned long calls_of(const char *call, int card, int counts) {
    char key[LENGTH];
    snprintf(key, sizeof key, "%d.%s", card, call);
    for (int i = 0; i < KEYS; i++) {
        if (!counted[i].key[0]) strcpy(counted[i].key, key);
        if (!strcmp(counted[i].key, key)) return counted[i].calls += counts;
    }
    return 0;
}

/* Of `A after N B after M C` what holds for a call by its number. */
static void choose(char *text, unsigned long number) {
    char *from = text, *word = text;
    while ((word = strstr(word, " after "))) {
        char *then;
        unsigned long after = strtoul(word + 7, &then, 10);
        if (number > after) from = then + strspn(then, " ");
        *word = 0;
        word = then;
    }
    memmove(text, from, strlen(from) + 1);
}

/* What the file says of a call now, else what a card that is well answers. */
static void look(const char *call, int card, char *text, int counts) {
    const char *control = getenv("HARNESS_INSIDE");
    char path[4096], key[LENGTH];
    struct stat now = {0};
    FILE *file = NULL;
    int found = 0;
    if (control && snprintf(path, sizeof path, "%s.nvml", control) < (int)sizeof path) file = fopen(path, "r");
    if (file) fstat(fileno(file), &now);
    pthread_mutex_lock(&lock);
    if (now.st_ino != known.st_ino || memcmp(&now.st_mtim, &known.st_mtim, sizeof now.st_mtim)) {
        memset(counted, 0, sizeof counted);
        known = now;
    }
    if (file) {
        snprintf(key, sizeof key, "%d.%s", card, call);
        found = (card != NO_CARD && line_of(file, key, text)) || line_of(file, call, text) || line_of(file, "all", text);
        fclose(file);
    }
    if (found) choose(text, calls_of(call, card, counts));
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; !found && i < sizeof WELL / sizeof *WELL; i++)
        if (!strcmp(WELL[i].call, call)) { strcpy(text, WELL[i].answer); found = 1; }
    if (!found) strcpy(text, "NOT_SUPPORTED");
}

/* The answer to a call, as text; gives the code that the call returns. */
static int answer(const char *call, int card, char *text) {
    look(call, card, text, 1);
    while (!strcmp(text, "never")) { usleep(POLL_US); look(call, card, text, 0); }
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (!strcmp(ERRORS[i].name, text)) return ERRORS[i].code;
    return SUCCESS;
}

static int card_of(nvmlDevice_t device) {
    long card = (char *)device - cards;
    return card >= 0 && card < CARDS ? (int)card : NO_CARD;
}

/* A number of an answer, by its place. */
static unsigned long long number(const char *text, unsigned place) {
    char *next = (char *)text;
    unsigned long long value = strtoull(next, &next, 0);
    while (place--) value = strtoull(next, &next, 0);
    return value;
}

/* A call that gives one number of a card. */
static int one(const char *call, nvmlDevice_t device, unsigned place, unsigned long long *value) {
    char text[LENGTH];
    int card = card_of(device), code = card == NO_CARD ? INVALID_ARGUMENT : answer(call, card, text);
    if (code == SUCCESS) *value = number(text, place);
    return code;
}

static int one_word(const char *call, nvmlDevice_t device, unsigned place, unsigned *value) {
    unsigned long long wide = 0;
    int code = one(call, device, place, &wide);
    if (code == SUCCESS) *value = (unsigned)wide;
    return code;
}

int nvmlInitWithFlags(unsigned flags) { char text[LENGTH]; (void)flags; return answer(__func__, NO_CARD, text); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) return ERRORS[i].name;
    return code == SUCCESS ? "Success" : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    char text[LENGTH];
    int code = answer(__func__, NO_CARD, text);
    if (code == SUCCESS) *count = (unsigned)number(text, 0);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    char text[LENGTH];
    int code = index >= CARDS ? INVALID_ARGUMENT : answer(__func__, (int)index, text);
    if (code == SUCCESS) *device = cards + index;
    return code;
}

int nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    char text[LENGTH];
    int card = card_of(device), code = answer(__func__, card, text);
    if (code == NOT_SUPPORTED) { snprintf(uuid, length, "GPU-%08x-0000-0000-0000-000000000000", card + 1); return SUCCESS; }
    if (code == SUCCESS) snprintf(uuid, length, "%s", text);
    return code;
}

int nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    char text[LENGTH];
    int code = answer(__func__, card_of(device), text);
    if (code == SUCCESS) snprintf(name, length, "%s", text);
    return code;
}

int nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    int code = one_word(__func__, device, 0, current);
    if (code == SUCCESS) *pending = *current;
    return code;
}

int nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    char text[LENGTH];
    int code = answer(__func__, card_of(device), text);
    if (code == SUCCESS) *rates = (nvmlUtilization_t){(unsigned)number(text, 0), (unsigned)number(text, 1)};
    return code;
}

int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    char text[LENGTH];
    int code = answer(__func__, card_of(device), text);
    unsigned long long used = number(text, 0), total = number(text, 1);
    if (code == SUCCESS) *memory = (nvmlMemory_t){.total = total, .free = total - used, .used = used};
    return code;
}

int nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    return one_word(__func__, device, 0, celsius);
}

int nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    return one_word(__func__, device, 0, milliwatts);
}

int nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned domain, unsigned *megahertz) {
    return one_word(__func__, device, domain, megahertz);
}

int nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    return one(__func__, device, 0, reasons);
}

int nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, unsigned kind, unsigned counter, unsigned long long *count) {
    (void)counter;
    return one(__func__, device, kind, count);
}

int nvmlEventSetCreate(void **set) {
    char text[LENGTH];
    int code = answer(__func__, NO_CARD, text);
    if (code == SUCCESS) *set = &events;
    return code;
}

int nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long kinds, void *set) {
    char text[LENGTH];
    (void)kinds, (void)set;
    return answer(__func__, card_of(device), text);
}

int nvmlEventSetWait_v2(void *set, nvmlEventData_t *data, unsigned milliseconds) {
    char text[LENGTH];
    int code = answer(__func__, NO_CARD, text);
    (void)set;
    if (code == TIMEOUT) usleep(1000 * milliseconds);
    if (code != SUCCESS) return code;
    memset(data, 0, sizeof *data);
    data->device = cards + number(text, 0) % CARDS;
    data->eventType = XID_CRITICAL_ERROR;
    data->eventData = number(text, 1);
    return SUCCESS;
}
