/* A double of Rockchip's librknnrt.so, for the real rknn-toolkit-lite2 under emulation.

   It has the functions that the wheel calls, with the structures that the wheel declares, and knows
   a model's shapes from its description. Its vectors are a checksum of what it is fed: they tell
   that bytes arrive as they were sent, and nothing else. RT_INIT and RT_RUN are error codes,
   RT_API and RT_DRV the versions. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint32_t index, n_dims, dims[16];
  char name[256];
  uint32_t n_elems, size;
  int fmt, type, qnt_type;
  int8_t fl;
  int32_t zp;
  float scale;
  uint32_t w_stride, size_with_stride;
  uint8_t pass_through;
  uint32_t h_stride;
} tensor_attr;

typedef struct {
  uint32_t index;
  void *buf;
  uint32_t size;
  uint8_t pass_through;
  int type, fmt;
} input;

typedef struct {
  uint8_t want_float, is_prealloc;
  uint32_t index;
  void *buf;
  uint32_t size;
} output;

enum { FLOAT32 = 0, INT64 = 8, NCHW = 0, NHWC = 1, UNDEFINED = 3, MOST = 4096 };

typedef struct {
  uint32_t dims[2][16], n_dims[2];
  int core, type, fmt;
  uint32_t fed;
  float vector[MOST];
} context;

static int said(const char *name) { return getenv(name) ? atoi(getenv(name)) : 0; }

static void read_shapes(context *c, const char *model, size_t size) {
  const char *at = model, *end = model + size;
  for (int which = 0; which < 2; which++) {
    at = memmem(at, end - at, "\"size\":[", 8);
    if (!at) return;
    at += 8;
    while (*at != ']' && c->n_dims[which] < 16) {
      c->dims[which][c->n_dims[which]++] = strtoul(at, (char **)&at, 10);
      if (*at == ',') at++;
    }
  }
}

int rknn_init(uint64_t *handle, void *model, uint32_t size, uint32_t flag, void *extend) {
  (void)flag, (void)extend;
  if (said("RT_INIT")) return said("RT_INIT");
  context *c = calloc(1, sizeof *c);
  read_shapes(c, model, size);
  *handle = (uint64_t)(uintptr_t)c;
  return 0;
}

int rknn_destroy(uint64_t handle) {
  fprintf(stderr, "librknnrt double: a context of core mask %d is released\n",
          ((context *)(uintptr_t)handle)->core);
  free((void *)(uintptr_t)handle);
  return 0;
}

int rknn_set_core_mask(uint64_t handle, int mask) {
  ((context *)(uintptr_t)handle)->core = mask;
  return 0;
}

static int describe(context *c, int which, tensor_attr *a) {
  uint32_t index = a->index, *dims = c->dims[which];
  memset(a, 0, sizeof *a);
  a->index = index;
  a->n_dims = c->n_dims[which];
  memcpy(a->dims, dims, sizeof a->dims);
  a->fmt = UNDEFINED;
  a->type = a->n_dims == 2 && which == 0 ? INT64 : FLOAT32;
  if (a->n_dims == 4) {
    /* The compiler turns every picture to channels last. */
    uint32_t turned[4] = {dims[0], dims[2], dims[3], dims[1]};
    memcpy(a->dims, turned, sizeof turned);
    a->fmt = NHWC;
  }
  a->n_elems = 1;
  for (uint32_t i = 0; i < a->n_dims; i++) a->n_elems *= a->dims[i];
  a->size = a->n_elems * 4;
  return 0;
}

int rknn_query(uint64_t handle, int command, void *info, uint32_t size) {
  context *c = (context *)(uintptr_t)handle;
  (void)size;
  switch (command) {
    case 0:
      ((uint32_t *)info)[0] = ((uint32_t *)info)[1] = 1;
      return 0;
    case 1:
      return describe(c, 0, info);
    case 2:
      return describe(c, 1, info);
    case 5:
      strcpy(info, getenv("RT_API") ? getenv("RT_API") : "2.5.0 (a double)");
      strcpy((char *)info + 256, getenv("RT_DRV") ? getenv("RT_DRV") : "0.9.8");
      return 0;
    default:
      return -5;
  }
}

int rknn_inputs_set(uint64_t handle, uint32_t count, input *in) {
  context *c = (context *)(uintptr_t)handle;
  (void)count;
  c->type = in->type;
  c->fmt = in->fmt;
  c->fed = in->size;
  uint32_t dim = c->dims[1][1], hash = 2166136261u;
  if (said("RT_RUN")) return 0;
  for (uint32_t k = 0; k < dim && k < MOST; k++) {
    for (uint32_t i = 0; i < in->size; i++) hash = (hash ^ ((uint8_t *)in->buf)[i]) * 16777619u;
    c->vector[k] = (float)((int32_t)(hash >> 8) - (1 << 23)) / (1 << 23);
  }
  return 0;
}

int rknn_run(uint64_t handle, void *extend) {
  context *c = (context *)(uintptr_t)handle;
  (void)extend;
  if (getenv("RT_SHOW"))
    fprintf(stderr, "librknnrt double: core mask %d runs %u bytes of type %d, format %d\n", c->core,
            c->fed, c->type, c->fmt);
  return said("RT_RUN");
}

int rknn_outputs_get(uint64_t handle, uint32_t count, output *out, void *extend) {
  context *c = (context *)(uintptr_t)handle;
  (void)count, (void)extend;
  out->size = c->dims[1][1] * sizeof(float);
  if (out->is_prealloc) memcpy(out->buf, c->vector, out->size);
  else out->buf = c->vector;
  return 0;
}

int rknn_outputs_release(uint64_t handle, uint32_t count, output *out) {
  (void)handle, (void)count, (void)out;
  return 0;
}

int rknn_set_input_shapes(uint64_t handle, uint32_t count, tensor_attr *attr) {
  (void)handle, (void)count, (void)attr;
  return -5;
}
