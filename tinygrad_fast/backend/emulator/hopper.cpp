// What Hopper does while its threads do something else: copies of boxes, and products of a warpgroup; and the barriers
// in shared memory that threads and copies meet at, from other blocks of a cluster, too. kernels/hopper.cuh says what
// each word means.
//
// The hardware may do what it was asked for at any moment from then on. Here each is done as late as can be: a copy
// when no thread can go on without it, a product when it is waited for. Whoever does not wait finds what was there
// before, and sums that are NaN.
#include "machine.h"
#include "numbers.h"

using namespace emulator;

// ---- Barriers: what eight bytes of shared memory stand for -----------------------------------------------------------

struct Barrier { const void* at; int arrivals, missing; long long bytes; unsigned phase; bool fenced; Thread* maker; };

static const int MOST_BARRIERS = 128;
static Barrier barriers[MOST_BARRIERS];
static int barrier_count;

static Barrier* barrier_at(const void* at) {
  for (Barrier* b = barriers; b < barriers + barrier_count; b++)
    if (b->at == at) return b;
  return nullptr;
}

static Barrier& made(const void* at, Where where) {
  Barrier* b = barrier_at(at);
  if (!b) stop({"takes for a barrier what barrier_init has not made one", where});
  return *b;
}

void emulator_barrier_init(void* at, int arrivals, Where where) {
  if ((uintptr_t)at % 8) stop({"makes a barrier at what is not a multiple of 8", where});
  Barrier* b = barrier_at(at);
  if (!b && barrier_count == MOST_BARRIERS) stop({"makes more barriers than the emulator has room for", where});
  if (!b) b = &barriers[barrier_count++];
  *b = {at, arrivals, arrivals, 0, 0, false, emulator_thread};
  check_barrier_init((int)(b - barriers));
}

void emulator_barrier_fence() {
  for (int i = 0; i < barrier_count; i++)
    if (barriers[i].maker == emulator_thread) barriers[i].fenced = true;
}

static void end_phase(Barrier& b) {
  if (b.missing || b.bytes) return;
  b.missing = b.arrivals;
  b.phase++;
  check_phase((int)(&b - barriers));
  wake(b.at);
}

void emulator_barrier_arrive(void* at, int bytes, Where where) {
  Barrier& b = made(at, where);
  if (!b.missing) stop({"arrives at a barrier more often in a phase than it was made for", where});
  check_release((int)(&b - barriers));
  b.missing--;
  b.bytes += bytes;
  end_phase(b);
}

static void* reach(const void* at, int rank, const char* beyond, Where where) {
  if ((unsigned)rank >= (unsigned)cluster_size()) stop({beyond, where});
  if (rank != emulator_thread->block->rank) check_reach(rank, where);
  return there(at, rank);
}

void emulator_remote_arrive(void* at, int rank, Where where) {
  at = reach(at, rank, "arrives at a barrier of a block that its cluster does not have", where);
  check_read(at, 8, where);
  emulator_barrier_arrive(at, 0, where);
}

void emulator_barrier_wait(void* at, int parity, Where where) {
  Barrier& b = made(at, where);
  while ((int)(b.phase & 1) == parity) wait_for_phase(at, where);
  check_acquire((int)(&b - barriers));
}

// ---- Copies of boxes -------------------------------------------------------------------------------------------------

struct Box { unsigned char* to; Boxes map; Barrier* barrier; int at[3]; Thread* thread; Where where; };

static const int MOST_BOXES = 1024;
static Box boxes[MOST_BOXES];
static unsigned boxes_landed, boxes_asked;  // of this cluster

static int bytes_of(const Boxes& map) { return (int)(map.box[0] * map.box[1] * map.box[2] * map.element); }

static uintptr_t swizzled(uintptr_t at, int mode) {  // mode: bits of an address that change
  return at ^ (at >> 7 & ((1u << mode) - 1)) << 4;
}

// To the same place in each of these blocks, of which each counts what comes to it.
void emulator_box(void* to, const void* map, void* at, int i, int j, int k, unsigned blocks, Where where) {
  Box box = {nullptr, {}, nullptr, {i, j, k}, emulator_thread, where};
  memcpy(&box.map, map, sizeof(Boxes));
  if (((unsigned char*)to - emulator_thread->block->shared) % (128u << box.map.swizzle))
    stop({"copies a box to where its swizzle does not begin", where});
  for (int rank = 0; blocks >> rank; rank++) {
    if (!(blocks >> rank & 1)) continue;
    box.to = (unsigned char*)reach(to, rank, "copies to a block that its cluster does not have", where);
    box.barrier = &made(there(at, rank), where);
    check_read(box.barrier->at, 8, where);
    if (!box.barrier->fenced) stop({"copies to a barrier that no barrier_fence has shown to the copies", where});
    if (boxes_asked - boxes_landed == MOST_BOXES)
      stop({"has more copies on their way than the emulator has room for", where});
    check_box_departure(box.to, bytes_of(box.map), where);
    boxes[boxes_asked++ % MOST_BOXES] = box;
  }
}

bool emulator::land() {
  if (boxes_landed == boxes_asked) return false;
  Box& box = boxes[boxes_landed++ % MOST_BOXES];
  const Boxes& map = box.map;
  Thread* running = emulator_thread;
  emulator_thread = box.thread;  // who is named if it fails
  int row = (int)(map.box[0] * map.element), size = bytes_of(map);
  for (int at = 0; at < size; at += row) {
    int64_t j = box.at[1] + at / row % map.box[1], k = box.at[2] + at / row / map.box[1];
    bool inside = 0 <= j && j < (int64_t)map.size[1] && 0 <= k && k < (int64_t)map.size[2];
    int64_t first = box.at[0], last = first + map.box[0];
    if (first < 0) first = 0;
    if (last > (int64_t)map.size[0]) last = (int64_t)map.size[0];
    unsigned char line[256] = {};
    if (inside && first < last) {
      const char* from = (const char*)map.array + j * map.stride[0] + k * map.stride[1] + first * map.element;
      int bytes = (int)((last - first) * map.element);
      check_read(from, bytes, box.where);
      memcpy(line + (first - box.at[0]) * map.element, from, bytes);
    }
    for (int c = 0; c < row; c += 16) memcpy((void*)swizzled((uintptr_t)box.to + at + c, map.swizzle), line + c, 16);
  }
  check_box_landing(box.to, size, (int)(box.barrier - barriers));
  emulator_thread = running;
  box.barrier->bytes -= size;
  end_phase(*box.barrier);
  return true;
}

Where emulator::where_boxed(uintptr_t at) {
  for (unsigned i = boxes_landed; i != boxes_asked; i++) {
    const Box& box = boxes[i % MOST_BOXES];
    if (at - (uintptr_t)box.to < (size_t)bytes_of(box.map)) return box.where;
  }
  return {};
}

void emulator::check_landed() {
  unsigned char* ended = emulator_thread->block->shared;
  for (unsigned i = boxes_landed; i != boxes_asked; i++) {
    const Box& box = boxes[i % MOST_BOXES];
    if (box.to < ended || box.to >= ended + MOST_SHARED) continue;
    bool mine = box.thread->block == emulator_thread->block;
    emulator_thread = box.thread;
    stop({mine ? "ends before a copy of a box has landed" : "copies a box to a block that ends before it has landed",
          box.where});
  }
}

// ---- Products --------------------------------------------------------------------------------------------------------

void emulator_proxy_fence() { check_shown(); }

// Sums in registers that products on their way will change: kept here meanwhile, and NaN in the registers.
struct Sums { float* lane[32]; float held[32][128]; int count, waiting; };
struct Asked { Operands product; Meeting kind; Sums* sums; unsigned group; Where where; };

static const int MOST_ASKED = 64, MOST_SUMS = 4, WARPS = MOST_CLUSTER * MOST_WARPS;
static struct {
  Asked asked[MOST_ASKED];
  Sums sums[MOST_SUMS];
  unsigned first, end, commits;
  bool fenced;
} warps[WARPS];
static struct { Operands product; unsigned number; } last_of_group[WARPS / 4][MOST_ASKED];  // the same for its four warps

void emulator::forget_phases() {
  barrier_count = 0;
  boxes_landed = boxes_asked = 0;
  for (auto& w : warps) {
    w.first = w.end = w.commits = 0, w.fenced = false;
    for (Sums& s : w.sums) s.waiting = 0;
  }
  for (auto& group : last_of_group)
    for (auto& each : group) each.number = 0;
}

// Where element (i, k) of an operand lies: i of m (or n). The layouts are those of the manual, "Canonical Layouts".
static const unsigned char* element(uint64_t description, bool along_k, int i, int k) {
  int begin = (int)(description & 0x3fff) << 4;
  int leading = (int)(description >> 16 & 0x3fff) << 4, stride = (int)(description >> 32 & 0x3fff) << 4;
  int mode = "\0\3\2\1"[description >> 62], row = 16 << mode, at;  // bytes of a row
  if (along_k) at = i % 8 * row + i / 8 * stride + (mode ? 2 * k : k % 8 * 2 + k / 8 * leading);
  else if (mode) at = 2 * i % row + 2 * i / row * leading + k % 8 * row + k / 8 * stride;
  else at = 2 * i % 16 + i / 8 * stride + k % 8 * 16 + k / 8 * leading;
  return emulator_thread->block->shared + swizzled((uintptr_t)(begin + at), mode);
}

// From when it is asked for until it is waited for, it may read them at any moment.
static void check_operands(const Asked& asked, int warp) {
  const Operands& p = asked.product;
  for (int k = 0; k < 16; k++) {
    for (int i = 0; i < 16; i++)
      if ((p.a_along_k ? k : i) % 8 == 0) check_multiplied(element(p.a, p.a_along_k, 16 * (warp % 4) + i, k), asked.where);
    for (int j = 0; j < p.columns; j++)
      if ((p.b_along_k ? k : j) % 8 == 0) check_multiplied(element(p.b, p.b_along_k, j, k), asked.where);
  }
}

static float value(Meeting kind, const unsigned char* at) {
  uint16_t bits;
  memcpy(&bits, at, 2);
  return kind == WGMMA_F16 ? half_to_float(bits) : __uint_as_float((unsigned)bits << 16);
}

// The 16 rows of one of the four warps.
static void multiply(const Asked& asked, int warp) {
  const Operands& p = asked.product;
  float a[16][16], b[16][256];
  check_operands(asked, warp);
  for (int k = 0; k < 16; k++) {
    for (int i = 0; i < 16; i++) a[i][k] = value(asked.kind, element(p.a, p.a_along_k, 16 * (warp % 4) + i, k));
    for (int j = 0; j < p.columns; j++) b[k][j] = value(asked.kind, element(p.b, p.b_along_k, j, k));
  }
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < p.columns / 2; i++) {
      int row = lane / 4 + 8 * (i / 2 % 2), column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = p.more ? asked.sums->held[lane][i] : 0;
      for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
      asked.sums->held[lane][i] = sum;
    }
}

static void ask(Meeting kind, Thread* lanes, int warp) {
  auto& w = warps[warp];
  Where where = lanes->where;
  const Operands& p = *(const Operands*)lanes->give;
  if (warp % MOST_WARPS / 4 * 4 + 4 > thread_count() / 32) stop({"needs the four warps of a warpgroup", where});
  for (int lane = 0; lane < 32; lane++)
    if (memcmp(lanes[lane].give, &p, sizeof p)) stop({"gives the lanes of a warp different operands", where});
  auto& same = last_of_group[warp / 4][w.end % MOST_ASKED];
  if (same.number != w.end + 1) same = {p, w.end + 1};
  else if (memcmp(&same.product, &p, sizeof p)) stop({"gives the warps of a warpgroup different operands", where});
  if (p.a >> 49 & 7 || p.b >> 49 & 7) stop({"says that a swizzle begins elsewhere, which is not emulated", where});
  if (w.end - w.first == MOST_ASKED) stop({"asks for more products than the emulator has room for", where});

  Sums* sums = nullptr;
  for (Sums& s : w.sums)
    if (s.waiting && s.lane[0] == lanes->take) sums = &s;
  if (!sums) {
    if (!w.fenced) stop({"adds to registers without a wgmma_fence before it", where});
    for (Sums& s : w.sums)
      if (!s.waiting) sums = &s;
    if (!sums) stop({"adds to more sums at once than the emulator has room for", where});
    sums->count = p.columns / 2;
    for (int lane = 0; lane < 32; lane++) {
      sums->lane[lane] = (float*)lanes[lane].take;
      for (int i = 0; i < sums->count; i++) {
        sums->held[lane][i] = sums->lane[lane][i];
        sums->lane[lane][i] = __uint_as_float(0x7fffffff);
      }
    }
  }
  sums->waiting++;
  Asked& asked = w.asked[w.end++ % MOST_ASKED] = {p, kind, sums, w.commits, where};
  check_operands(asked, warp);
}

static void finish(int warp, unsigned groups) {
  auto& w = warps[warp];
  for (; w.first != w.end && (int)(w.commits - w.asked[w.first % MOST_ASKED].group) > (int)groups; w.first++) {
    const Asked& asked = w.asked[w.first % MOST_ASKED];
    multiply(asked, warp);
    Sums& sums = *asked.sums;
    if (--sums.waiting) continue;
    for (int lane = 0; lane < 32; lane++) memcpy(sums.lane[lane], sums.held[lane], sums.count * sizeof(float));
    w.fenced = false;  // whoever has the registers now may change them
  }
}

void emulator::warpgroup(Meeting meeting, Thread* lanes) {
  int warp = warp_number();
  if (meeting == WGMMA_FENCE) warps[warp].fenced = true;
  else if (meeting == WGMMA_COMMIT) warps[warp].commits++;
  else if (meeting == WGMMA_WAIT) finish(warp, lanes->from);
  else ask(meeting, lanes, warp);
}
