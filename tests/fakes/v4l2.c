// A camera for processes that preload this: /dev/video9, as its driver would answer. What it does is said by files in
// the folder $FAKE_V4L2, which a test may make and remove at any time:
//   absent, denied, busy: opening or starting it fails;  unplugged: it goes while it runs;  stalled: no more frames;
//   damaged: every second frame carries the error flag;  few: two buffers only;  frame.jpg: what it gives as MJPG.
// Frame n of YUYV and NV12 has luma 16 + n % 200 everywhere, U 90, V 160; rows are 64 bytes longer than their pixels.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8, SLOT = 4 << 20, PAD = 64 };

struct mode {
  unsigned format, width, height, fps;
};
static const struct mode modes[] = {
    {V4L2_PIX_FMT_YUYV, 640, 480, 30}, {V4L2_PIX_FMT_YUYV, 1280, 720, 10}, {V4L2_PIX_FMT_NV12, 640, 480, 30},
    {V4L2_PIX_FMT_MJPEG, 1280, 720, 30}, {V4L2_PIX_FMT_SRGGB10, 640, 480, 60},
};
enum { MODES = sizeof modes / sizeof *modes };

static int camera = -1;  // a memfd, so that mmap needs no help
static struct mode now;
static int streaming, queue[SLOTS], queued, slots;
static unsigned sequence;
static double due;

static int said(const char* what) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", getenv("FAKE_V4L2"), what);
  return access(path, F_OK) == 0;
}

static int fail(int number) {
  errno = number;
  return -1;
}

static double clock_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned stride(void) { return now.format == V4L2_PIX_FMT_YUYV ? now.width * 2 + PAD : now.width + PAD; }

static unsigned size(void) {
  if (now.format == V4L2_PIX_FMT_MJPEG) return SLOT;
  return now.format == V4L2_PIX_FMT_NV12 ? stride() * now.height * 3 / 2 : stride() * now.height;
}

static int ready(void) { return streaming && queued && !said("stalled") && clock_s() >= due; }

static unsigned fill(int slot) {
  unsigned char luma = 16 + sequence % 200;
  unsigned char* data = mmap(NULL, SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, camera, (off_t)slot * SLOT);
  unsigned bytes = size();
  if (now.format == V4L2_PIX_FMT_MJPEG) {
    char path[512];
    snprintf(path, sizeof path, "%s/frame.jpg", getenv("FAKE_V4L2"));
    FILE* file = fopen(path, "rb");
    bytes = file ? fread(data, 1, SLOT, file) : 0;
    if (file) fclose(file);
  } else if (now.format == V4L2_PIX_FMT_NV12) {
    memset(data, luma, stride() * now.height);
    for (unsigned i = stride() * now.height; i < bytes; i += 2) data[i] = 90, data[i + 1] = 160;
  } else {
    for (unsigned i = 0; i < bytes; i += 4) data[i] = data[i + 2] = luma, data[i + 1] = 90, data[i + 3] = 160;
  }
  munmap(data, SLOT);
  return bytes;
}

static int set_format(struct v4l2_format* f) {
  if (said("busy")) return fail(EBUSY);
  now = modes[0];
  for (int i = 0; i < MODES; i++)
    if (modes[i].format == f->fmt.pix.pixelformat && modes[i].width == f->fmt.pix.width) now = modes[i];
  f->fmt.pix.width = now.width, f->fmt.pix.height = now.height, f->fmt.pix.pixelformat = now.format;
  f->fmt.pix.bytesperline = now.format == V4L2_PIX_FMT_MJPEG ? 0 : stride();
  f->fmt.pix.sizeimage = size();
  return 0;
}

static int list_format(struct v4l2_fmtdesc* d) {
  unsigned seen = 0;
  for (int i = 0; i < MODES; i++) {
    int known = 0;
    for (int j = 0; j < i; j++) known |= modes[j].format == modes[i].format;
    if (!known && seen++ == d->index) return d->pixelformat = modes[i].format, 0;
  }
  return fail(EINVAL);
}

static int list_size(struct v4l2_frmsizeenum* s) {
  unsigned seen = 0;
  for (int i = 0; i < MODES; i++)
    if (modes[i].format == s->pixel_format && seen++ == s->index) {
      s->type = V4L2_FRMSIZE_TYPE_DISCRETE;
      s->discrete.width = modes[i].width, s->discrete.height = modes[i].height;
      return 0;
    }
  return fail(EINVAL);
}

static int list_interval(struct v4l2_frmivalenum* v) {
  for (int i = 0; i < MODES && v->index == 0; i++)
    if (modes[i].format == v->pixel_format && modes[i].width == v->width) {
      v->type = V4L2_FRMIVAL_TYPE_DISCRETE;
      v->discrete.numerator = 1, v->discrete.denominator = modes[i].fps;
      return 0;
    }
  return fail(EINVAL);
}

static int dequeue(struct v4l2_buffer* b) {
  if (!ready()) return fail(EAGAIN);
  double t = due;
  b->index = queue[0];
  memmove(queue, queue + 1, --queued * sizeof *queue);
  b->bytesused = fill(b->index);
  b->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | (said("damaged") && sequence % 2 ? V4L2_BUF_FLAG_ERROR : 0);
  b->timestamp.tv_sec = t, b->timestamp.tv_usec = (t - (long)t) * 1e6;
  b->sequence = sequence++;
  due += 1.0 / now.fps;
  return 0;
}

static int answer(unsigned long call, void* p) {
  if (said("unplugged")) return fail(ENODEV);
  switch (call) {
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability* c = p;
      strcpy((char*)c->card, "Fake camera");
      c->capabilities = V4L2_CAP_DEVICE_CAPS;
      c->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    }
    case VIDIOC_ENUM_FMT: return list_format(p);
    case VIDIOC_ENUM_FRAMESIZES: return list_size(p);
    case VIDIOC_ENUM_FRAMEINTERVALS: return list_interval(p);
    case VIDIOC_S_FMT: return set_format(p);
    case VIDIOC_S_PARM: {
      struct v4l2_streamparm* s = p;
      s->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
      s->parm.capture.timeperframe = (struct v4l2_fract){1, now.fps};
      return 0;
    }
    case VIDIOC_REQBUFS: {
      struct v4l2_requestbuffers* r = p;
      if (r->count) slots = r->count = said("few") ? 2 : r->count < SLOTS ? r->count : SLOTS;
      return queued = 0;
    }
    case VIDIOC_QUERYBUF: {
      struct v4l2_buffer* b = p;
      b->length = SLOT, b->m.offset = b->index * SLOT;
      return 0;
    }
    case VIDIOC_QBUF: {
      int index = ((struct v4l2_buffer*)p)->index;
      for (int i = 0; i < queued; i++)
        if (queue[i] == index) return fail(EINVAL);
      queue[queued++] = index;
      return 0;
    }
    case VIDIOC_DQBUF: return dequeue(p);
    case VIDIOC_STREAMON:
      due = clock_s() + 1.0 / now.fps;
      streaming = 1;
      return 0;
    case VIDIOC_STREAMOFF: return streaming = queued = 0;
  }
  return fail(ENOTTY);
}

static int open_camera(void) {
  if (said("absent")) return fail(ENOENT);
  if (said("denied")) return fail(EACCES);
  camera = memfd_create("camera", MFD_CLOEXEC);
  return ftruncate(camera, (off_t)SLOTS * SLOT) ? -1 : camera;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return strcmp(path, "/dev/video9") ? REAL(open)(path, flags, mode) : open_camera();
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return strcmp(path, "/dev/video9") ? REAL(open)(path, flags, mode) : open_camera();
}

int close(int file) {
  if (file == camera) camera = -1, streaming = 0;
  return REAL(close)(file);
}

int ioctl(int file, unsigned long call, ...) {
  va_list rest;
  va_start(rest, call);
  void* p = va_arg(rest, void*);
  va_end(rest);
  return file == camera ? answer(call & 0xffffffff, p) : REAL(ioctl)(file, call, p);
}

int poll(struct pollfd* files, nfds_t count, int timeout_ms) {
  int mine = -1;
  for (nfds_t i = 0; i < count; i++)
    if (files[i].fd == camera && camera >= 0) mine = i;
  if (mine < 0) return REAL(poll)(files, count, timeout_ms);
  double end = timeout_ms < 0 ? 1e18 : clock_s() + timeout_ms / 1e3;
  for (;;) {
    files[mine].fd = -1;
    int found = REAL(poll)(files, count, 2);
    files[mine].fd = camera;
    files[mine].revents = said("unplugged") ? POLLERR | POLLHUP : ready() ? POLLIN : 0;
    if (files[mine].revents) found++;
    if (found || clock_s() >= end) return found;
  }
}
