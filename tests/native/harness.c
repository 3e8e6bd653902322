/* Stands in for Triton before inprocess.c, so that its C runs under sanitizers: counts what is made and released, and
 * fails any one of the calls that inprocess.c makes.
 *
 *   harness REQUESTS     answers so many requests, every place where a call can fail, and short ones beside long ones; 0
 *                        when all is as it should be
 *   harness REQUESTS FOLDER   the same where it is linked with delegate.c, too, whose other library is in the folder; and
 *                        sees that each side hears of its own models alone
 *
 * Linked with inprocess.c by scripts/sanitize.py; the model is model_in_harness.py, and the other library is
 * other_library.c. */

#include "inprocess.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECES 3
#define MOST_IN_BATCH 5
#define GROWTH_BYTES (64 * 1024)
#define LONG_ELEMENTS 2000 /* more than the model says */
#define LONG 4
#define SHORT 3

/* Of the sanitizer's own, where it has it. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  char* text;
};
struct TRITONSERVER_Message {
  const char* config;
};
struct TRITONBACKEND_Model {
  const char* config;
  void* state;
};
struct TRITONBACKEND_Input {
  const char* name;
  const char* type;
  int64_t shape[2];
  char* content;
  uint64_t bytes;
  uint32_t pieces;
  TRITONSERVER_MemoryType memory;
};
struct TRITONBACKEND_Request {
  TRITONBACKEND_Input inputs[2];
  int number;
  bool cancelled;
  uint64_t timeout;
};
struct TRITONBACKEND_Output {
  char* content;
};
struct TRITONBACKEND_State {
  char* content;
};
struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
  TRITONBACKEND_Output output;
  uint64_t bytes;
};
struct TRITONBACKEND_ModelInstance {
  void* state;
  int workers;
  TRITONBACKEND_Model* model;
};

/* Whichever of the two Triton calls. */
TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* handle);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* handle);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* handle, TRITONBACKEND_Request** requests, const uint32_t count);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long errors_alive, messages_alive, responses_alive, requests_alive, calls, fail_at = -1, failed_calls, wrong;
static long answered, refused;
/* Numbers of the requests in the order in which they were answered, those refused as their negative. */
static int order[LONG + SHORT];
static int ordered;
static pthread_cond_t was_answered = PTHREAD_COND_INITIALIZER;

static void count(long* what, long by)
{
  pthread_mutex_lock(&lock);
  *what += by;
  pthread_mutex_unlock(&lock);
}

TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message)
{
  TRITONSERVER_Error* error = malloc(sizeof(*error));
  *error = (TRITONSERVER_Error){code, strdup(message)};
  count(&errors_alive, 1);
  return error;
}

void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error)
{
  free(error->text);
  free(error);
  count(&errors_alive, -1);
}

TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error* error) { return error->code; }
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->text; }

/* Returns an error where it is this call's turn to fail. */
static TRITONSERVER_Error* maybe(void)
{
  pthread_mutex_lock(&lock);
  const int fails = calls++ == fail_at;
  failed_calls += fails;
  pthread_mutex_unlock(&lock);
  return fails ? TRITONSERVER_ErrorNew(TRITON_INTERNAL, "this call was to fail") : NULL;
}

TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char* file, int line, const char* text)
{
  (void)level, (void)file, (void)line, (void)text;
  return maybe();
}
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message, const char** text, size_t* size)
{
  *text = message->config;
  *size = strlen(message->config);
  return maybe();
}
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message)
{
  free(message);
  count(&messages_alive, -1);
  return NULL;
}
const char* TRITONSERVER_DataTypeString(TRITONSERVER_DataType type) { return type == 0 ? "FP32" : "INT32"; }
TRITONSERVER_DataType TRITONSERVER_StringToDataType(const char* name) { return strcmp(name, "FP32") == 0 ? 0 : 1; }
const char* TRITONSERVER_InstanceGroupKindString(TRITONSERVER_InstanceGroupKind kind)
{
  (void)kind;
  return "CPU";
}
TRITONSERVER_Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor)
{
  *major = 1, *minor = 19;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model, uint32_t version, TRITONSERVER_Message** config)
{
  (void)version;
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  *config = malloc(sizeof(TRITONSERVER_Message));
  (*config)->config = model->config;
  count(&messages_alive, 1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(
    TRITONBACKEND_Model* model, TRITONBACKEND_ArtifactType* type, const char** folder)
{
  (void)model;
  *type = 0, *folder = "nowhere";
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model* model, uint64_t* version)
{
  (void)model;
  *version = 1;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Model** model)
{
  TRITONSERVER_Error* error = maybe();
  if (error == NULL) *model = instance->model;
  return error;
}
TRITONSERVER_Error* TRITONBACKEND_ModelState(TRITONBACKEND_Model* model, void** state)
{
  TRITONSERVER_Error* error = maybe();
  if (error == NULL) *state = model->state;
  return error;
}
TRITONSERVER_Error* TRITONBACKEND_ModelSetState(TRITONBACKEND_Model* model, void* state)
{
  model->state = state;
  return NULL;
}
static const char* backend_folder;
TRITONSERVER_Error* TRITONBACKEND_BackendArtifacts(
    TRITONBACKEND_Backend* backend, TRITONBACKEND_ArtifactType* type, const char** folder)
{
  (void)backend;
  *type = 0, *folder = backend_folder;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceKind(
    TRITONBACKEND_ModelInstance* instance, TRITONSERVER_InstanceGroupKind* kind)
{
  (void)instance;
  *kind = 0;
  return maybe();
}
/* The device tells the model how many workers to ask for. */
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceDeviceId(TRITONBACKEND_ModelInstance* instance, int32_t* id)
{
  *id = instance->workers;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance* instance, void** state)
{
  *state = instance->state;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance* instance, void* state)
{
  instance->state = state;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request, bool success, uint64_t start,
    uint64_t compute_start, uint64_t compute_end, uint64_t end)
{
  (void)instance, (void)request;
  count(success ? &answered : &refused, 1);
  if (!(start <= compute_start && compute_start <= compute_end && compute_end <= end)) count(&wrong, 1);
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(
    TRITONBACKEND_ModelInstance* instance, uint64_t batch_size, uint64_t start, uint64_t compute_start,
    uint64_t compute_end, uint64_t end)
{
  (void)instance, (void)batch_size, (void)start, (void)compute_start, (void)compute_end, (void)end;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request* request, uint32_t* inputs)
{
  (void)request;
  *inputs = 2;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(
    TRITONBACKEND_Request* request, uint32_t index, TRITONBACKEND_Input** input)
{
  *input = &request->inputs[index];
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* request, uint32_t* outputs)
{
  (void)request;
  *outputs = 1;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request, uint32_t index, const char** name)
{
  (void)request, (void)index;
  *name = "Y";
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestIsCancelled(TRITONBACKEND_Request* request, bool* is_cancelled)
{
  *is_cancelled = request->cancelled;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_InferenceRequestTimeoutMicroseconds(TRITONBACKEND_Request* request, uint64_t* timeout)
{
  *timeout = request->timeout;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t flags)
{
  (void)flags;
  for (int place = 0; place < 2; place++) free(request->inputs[place].content);
  free(request);
  count(&requests_alive, -1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(
    TRITONBACKEND_Input* input, const char** name, TRITONSERVER_DataType* type, const int64_t** shape,
    uint32_t* dimensions, uint64_t* bytes, uint32_t* buffers)
{
  *name = input->name, *type = TRITONSERVER_StringToDataType(input->type), *shape = input->shape, *dimensions = 2;
  *bytes = input->bytes, *buffers = input->pieces;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(
    TRITONBACKEND_Input* input, uint32_t index, const void** buffer, uint64_t* bytes, TRITONSERVER_MemoryType* memory,
    int64_t* memory_id)
{
  const uint64_t size = input->bytes / input->pieces;
  *buffer = input->bytes == 0 ? NULL : input->content + index * size;
  *bytes = index + 1 == input->pieces ? input->bytes - index * size : size;
  *memory = input->memory, *memory_id = 0;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response, TRITONBACKEND_Request* request)
{
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  *response = calloc(1, sizeof(TRITONBACKEND_Response));
  (*response)->request = request;
  count(&responses_alive, 1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(
    TRITONBACKEND_Response* response, TRITONBACKEND_Output** output, const char* name, TRITONSERVER_DataType type,
    const int64_t* shape, uint32_t dimensions)
{
  (void)type, (void)shape, (void)dimensions;
  if (strcmp(name, "Y") != 0) count(&wrong, 1);
  *output = &response->output;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(
    TRITONBACKEND_Output* output, void** buffer, uint64_t bytes, TRITONSERVER_MemoryType* memory, int64_t* memory_id)
{
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  free(output->content);
  /* Exactly so long: a byte more is written where a sanitizer looks. */
  *buffer = output->content = malloc(bytes == 0 ? 1 : bytes);
  *memory = TRITON_MEMORY_CPU, *memory_id = 0;
  ((TRITONBACKEND_Response*)((char*)output - offsetof(TRITONBACKEND_Response, output)))->bytes = bytes;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_StateNew(
    TRITONBACKEND_State** state, TRITONBACKEND_Request* request, const char* name, TRITONSERVER_DataType type,
    const int64_t* shape, uint32_t dimensions)
{
  static TRITONBACKEND_State kept;
  (void)request, (void)name, (void)type, (void)shape, (void)dimensions;
  *state = &kept;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_StateBuffer(
    TRITONBACKEND_State* state, void** buffer, uint64_t bytes, TRITONSERVER_MemoryType* memory, int64_t* memory_id)
{
  static _Thread_local char kept[64];
  (void)state;
  if (bytes > sizeof(kept)) count(&wrong, 1);
  *buffer = kept, *memory = TRITON_MEMORY_CPU, *memory_id = 0;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_StateUpdate(TRITONBACKEND_State* state)
{
  (void)state;
  return maybe();
}
/* What is answered without an error is the request's own numbers, twice over. */
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(
    TRITONBACKEND_Response* response, uint32_t flags, TRITONSERVER_Error* error)
{
  (void)flags;
  const TRITONBACKEND_Input* input = &response->request->inputs[0];
  if (error == NULL && response->output.content != NULL)
    for (uint64_t place = 0; place < response->bytes / sizeof(float); place++)
      if (((float*)response->output.content)[place] != 2 * ((float*)input->content)[place]) count(&wrong, 1);
  pthread_mutex_lock(&lock);
  /* As if it were being read until then: with a long request, the short ones beside it are waited for, unless one was
   * waited for in vain. */
  static int late = 0;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 5;
  while (input->shape[1] == LONG_ELEMENTS && ordered < SHORT && late == 0)
    late = pthread_cond_timedwait(&was_answered, &lock, &until);
  if (ordered < LONG + SHORT) order[ordered++] = error == NULL ? response->request->number : -response->request->number;
  pthread_cond_broadcast(&was_answered);
  pthread_mutex_unlock(&lock);
  free(response->output.content);
  free(response);
  count(&responses_alive, -1);
  return NULL;
}

static TRITONBACKEND_Request* make_request_of(int number, uint64_t size)
{
  TRITONBACKEND_Request* request = calloc(1, sizeof(*request));
  request->number = number;
  request->inputs[0] = (TRITONBACKEND_Input){"X", "FP32", {1, (int64_t)size}, malloc(size * sizeof(float) + 1),
                                             size * sizeof(float), 1 + (uint32_t)(number % PIECES), TRITON_MEMORY_CPU};
  for (uint64_t place = 0; place < size; place++)
    ((float*)request->inputs[0].content)[place] = (float)(number + (int)place);
  request->inputs[1] = (TRITONBACKEND_Input){"KIND", "INT32", {1, 1}, malloc(4), 4, 1, TRITON_MEMORY_CPU};
  /* Where it fails, so does its whole batch. */
  if (number % 101 == 100) request->inputs[0].memory = 2;
  memcpy(request->inputs[1].content, &number, 4);
  count(&requests_alive, 1);
  return request;
}

static TRITONBACKEND_Request* make_request(int number)
{
  return make_request_of(number, (uint64_t)(number % 7)); /* also of nothing */
}

static int check(const char* when)
{
  const int fine = errors_alive == 0 && messages_alive == 0 && responses_alive == 0 && requests_alive == 0 && wrong == 0;
  if (!fine)
    fprintf(stderr, "%s: alive are %ld errors, %ld messages, %ld responses and %ld requests; %ld are wrong\n", when,
            errors_alive, messages_alive, responses_alive, requests_alive, wrong);
  return fine;
}

/* A model is the backend's own or the other library's; what no Python reads is of neither. */
#define HOSTED "{\"name\": \"harness\"}"
#define OTHER "{\"name\": \"other\"}"
#define UNREADABLE "{"

#ifdef DELEGATE
TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend);
TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(
    TRITONBACKEND_Backend* backend, TRITONBACKEND_BackendAttribute* attribute);
TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model);
TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model);

/* ---- what the other library tells ---- */

static long heard[8], others_alive;

/* A function of its was called, with a model where there is one; the number is its place in delegate.c. */
void harness_heard(int function, const TRITONBACKEND_Model* model)
{
  count(&heard[function], 1);
  if (model != NULL && strcmp(model->config, OTHER) != 0) count(&wrong, 1);
}
const TRITONBACKEND_Model* harness_model_of(const TRITONBACKEND_ModelInstance* instance) { return instance->model; }
void** harness_state_of(TRITONBACKEND_ModelInstance* instance) { return &instance->state; }
TRITONSERVER_Error* harness_maybe(void) { return maybe(); }
void harness_lives(long by) { count(&others_alive, by); }

/* Returns whether it could be loaded, as for the next two. */
static int load(TRITONBACKEND_Model* model)
{
  TRITONSERVER_Error* error = TRITONBACKEND_ModelInitialize(model);
  const int loaded = error == NULL;
  forget(error);
  return loaded;
}
static void unload(TRITONBACKEND_Model* model)
{
  /* Triton's own calls do not fail for good. */
  TRITONSERVER_Error* error = TRITONBACKEND_ModelFinalize(model);
  if (error != NULL) forget(TRITONBACKEND_ModelFinalize(model));
  forget(error);
}
#else
static int load(TRITONBACKEND_Model* model) { return model != NULL; }
static void unload(TRITONBACKEND_Model* model) { (void)model; }
#endif

/* Long requests and short ones, queued together: the short ones are answered first, the long ones one after another. Two
 * of these are given up while they wait. */
static int short_ones_go_first(void)
{
  TRITONBACKEND_Model model = {HOSTED, NULL};
  TRITONBACKEND_ModelInstance instance = {NULL, 2, &model};
  TRITONBACKEND_Request* batch[LONG + SHORT];
  for (int place = 0; place < LONG + SHORT; place++)
    batch[place] = make_request_of(11 + place, place < LONG || place == LONG + 1 ? LONG_ELEMENTS : 3);
  /* As many elements, but in short items. */
  batch[LONG + 1]->inputs[0].shape[0] = LONG_ELEMENTS / 4, batch[LONG + 1]->inputs[0].shape[1] = 4;
  batch[1]->cancelled = true;
  batch[2]->timeout = 1;
  batch[3]->timeout = (uint64_t)1 << 40;
  load(&model);
  forget(TRITONBACKEND_ModelInstanceInitialize(&instance));
  ordered = 0;
  forget(TRITONBACKEND_ModelInstanceExecute(&instance, batch, LONG + SHORT));
  forget(TRITONBACKEND_ModelInstanceFinalize(&instance));
  unload(&model);
  static const int expected[LONG + SHORT] = {15, 16, 17, 11, -12, -13, 14};
  int fine = ordered == LONG + SHORT;
  for (int place = 0; place < LONG + SHORT; place++) {
    fine = fine && order[place] == expected[place];
    printf("%d ", order[place]);
  }
  printf("were answered in this order\n");
  if (!fine) fprintf(stderr, "long requests were in the way of short ones\n");
  return fine && check("long requests");
}

/* Answers requests in batches of different sizes; returns how many were not taken. */
static long answer(TRITONBACKEND_ModelInstance* instance, int first, int requests)
{
  long not_taken = 0;
  for (int number = first; number < first + requests;) {
    TRITONBACKEND_Request* batch[MOST_IN_BATCH];
    uint32_t size = 0;
    while (size <= (uint32_t)number % MOST_IN_BATCH && size < MOST_IN_BATCH && number < first + requests)
      batch[size++] = make_request(number++);
    TRITONSERVER_Error* error = TRITONBACKEND_ModelInstanceExecute(instance, batch, size);
    if (error == NULL) continue;
    forget(error);
    not_taken += size;
    for (uint32_t place = 0; place < size; place++) forget(TRITONBACKEND_RequestRelease(batch[place], 1));
  }
  return not_taken;
}

/* Loads a model, answers and unloads it; returns whether it could be loaded. */
static int serve_as(const char* config, int workers, int first, int requests)
{
  TRITONBACKEND_Model model = {config, NULL};
  TRITONBACKEND_ModelInstance instance = {NULL, workers, &model};
  int loaded = load(&model);
  if (loaded) {
    TRITONSERVER_Error* error = TRITONBACKEND_ModelInstanceInitialize(&instance);
    loaded = error == NULL;
    forget(error);
    if (loaded) answer(&instance, first, requests);
    /* As Triton does, whether it could be initialized or not; and once more where a call of Triton's failed. */
    error = TRITONBACKEND_ModelInstanceFinalize(&instance);
    if (error != NULL) forget(TRITONBACKEND_ModelInstanceFinalize(&instance));
    forget(error);
  }
  unload(&model);
  return loaded;
}

static int serve(int workers, int first, int requests) { return serve_as(HOSTED, workers, first, requests); }

static size_t allocated(void)
{
  return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

/* Returns how many calls there are, each of which failed once; negative where one was not taken as it should be. */
static long each_call_fails(const char* config)
{
  for (long places = 0;; places++) {
    calls = 0, failed_calls = 0, fail_at = places;
    serve_as(config, 0, 0, 12);
    fail_at = -1;
    if (!check("a call that fails")) return -1;
    if (failed_calls == 0) return places;
  }
}

#ifdef DELEGATE
/* Initializes the backend, which a folder or a call keeps from it; returns whether that was said in these words. */
static int is_refused(const char* folder, long failing, const char* words)
{
  backend_folder = folder;
  calls = 0, fail_at = failing;
  TRITONSERVER_Error* error = TRITONBACKEND_Initialize(NULL);
  fail_at = -1;
  const int fine = error != NULL && strstr(TRITONSERVER_ErrorMessage(error), words) != NULL;
  if (!fine) fprintf(stderr, "%s: %s\n", folder, error == NULL ? "initialized" : TRITONSERVER_ErrorMessage(error));
  forget(error);
  /* What could not be initialized is finalized; nothing is there to hear of it. */
  forget(TRITONBACKEND_Finalize(NULL));
  return fine && check(folder);
}

/* A folder without the library, one whose library lacks a function, and calls that fail before there is one. */
static int is_refused_where_the_other_library_cannot_be_used(const char* folder)
{
  char incomplete[4096], library[4200];
  snprintf(incomplete, sizeof(incomplete), "%s/incomplete", folder);
  snprintf(library, sizeof(library), "%s/" DELEGATE, incomplete);
  for (int again = 0; again < 2; again++)
    if (!is_refused("nowhere", -1, "nowhere/" DELEGATE) || !is_refused(incomplete, -1, "TRITONBACKEND_") ||
        !is_refused(folder, 0, "was to fail") || !is_refused(folder, 1, "was to fail"))
      return 0;
  if (dlopen(library, RTLD_NOW | RTLD_NOLOAD) != NULL) {
    fprintf(stderr, "a library that was refused is still loaded\n");
    return 0;
  }
  backend_folder = folder;
  return 1;
}

/* Serves models of the other library; returns how many of its calls failed once, negative where one heard of another's. */
static long serve_the_others(int requests)
{
  const long before = answered;
  forget(TRITONBACKEND_GetBackendAttribute(NULL, NULL));
  if (!serve_as(OTHER, 0, 0, requests) || answered != before) return -1;
  TRITONBACKEND_Model unreadable = {UNREADABLE, NULL};
  if (load(&unreadable)) return -1;
  unload(&unreadable);
  const long places = each_call_fails(OTHER);
  for (int function = 0; function < 8; function++)
    /* All but its end. */
    if ((heard[function] == 0) != (function == 1)) {
      fprintf(stderr, "function %d of the other library was called %ld times\n", function, heard[function]);
      return -1;
    }
  forget(TRITONBACKEND_Finalize(NULL));
  if (heard[1] != 1 || others_alive != 0) {
    fprintf(stderr, "%ld states of the other library are alive\n", others_alive);
    return -1;
  }
  return check("the other library") ? places : -1;
}
#endif

int main(int arguments, char** argument)
{
  const int requests = arguments > 1 ? atoi(argument[1]) : 1000;
#ifdef DELEGATE
  if (arguments < 3 || !is_refused_where_the_other_library_cannot_be_used(argument[2])) return 1;
#endif
  TRITONSERVER_Error* error = TRITONBACKEND_Initialize(NULL);
  if (error != NULL) {
    fprintf(stderr, "%s\n", TRITONSERVER_ErrorMessage(error));
    return 1;
  }
  for (int workers = 0; workers <= 2; workers += 2) {
    /* What is filled once, such as Python's caches, is full. */
    serve(workers, 0, 2000);
    const size_t before = allocated();
    if (!serve(workers, 0, requests / 2) || !check("requests")) return 1;
    const size_t after = allocated();
    printf("%d workers: %d requests, %zu bytes before and %zu after\n", workers, requests / 2, before, after);
    if (after > before + GROWTH_BYTES) {
      fprintf(stderr, "%zu bytes were not freed\n", after - before);
      return 1;
    }
  }
  if (answered == 0 || refused == 0) return 1;
  const long places = each_call_fails(HOSTED);
  if (places < 0) return 1;
  fail_at = -1;
  if (!short_ones_go_first()) return 1;
#ifdef DELEGATE
  const long other_places = serve_the_others(requests);
  if (other_places < 0) return 1;
  printf("%ld calls failed once for the other library\n", other_places);
#endif
  printf("%ld answered, %ld refused; each of %ld calls failed once\n", answered, refused, places);
  return places > 100 ? 0 : 1;
}
