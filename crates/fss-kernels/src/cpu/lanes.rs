//! The vector operations that the kernels are written in, and the choice of an instruction set.
//!
//! A kernel is written once, generic over [`Lanes`]. [`Lanes::enter`] compiles it a second time with the
//! instructions switched on, so one binary runs on any machine and uses what it finds there.

/// A piece of work that is compiled for every instruction set.
pub(super) trait Kernel {
    /// Does the work.
    ///
    /// # Safety
    /// The instructions of `S` exist on this machine; what else must hold, each kernel says.
    unsafe fn run<S: Lanes>(self);
}

/// A piece of work that is done with one instruction set, on any number of threads.
pub(super) trait Task {
    /// What comes out.
    type Output;

    /// Does the work; what calls for instructions goes through [`Lanes::enter`].
    ///
    /// # Safety
    /// The instructions of `S` exist on this machine; what else must hold, each task says.
    unsafe fn run<S: Lanes>(self) -> Self::Output;
}

/// A vector of `WIDTH` numbers and what the convolutions do with it.
///
/// # Safety
/// All functions may be called only inside [`Lanes::enter`], which needs the instructions to exist.
/// Pointers need no alignment; they must be valid for the lanes that are touched (masked-out lanes are not).
pub(super) trait Lanes: Copy + Send + Sync + 'static {
    /// `WIDTH` numbers.
    type Vector: Copy;
    /// A contiguous range of lanes.
    type Mask: Copy;
    /// Lanes of a vector.
    const WIDTH: usize;
    /// Output channels of one register tile.
    const ROWS: usize;
    /// Columns of one register tile, which is also the width of a packed panel.
    const PANEL: usize = PANEL_VECTORS * Self::WIDTH;

    /// Runs a kernel with the instructions of this set.
    unsafe fn enter<K: Kernel>(kernel: K);

    /// The same number in each lane.
    unsafe fn splat(x: f32) -> Self::Vector;
    /// `WIDTH` numbers from `from`.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// `WIDTH` numbers to `to`.
    unsafe fn store(to: *mut f32, v: Self::Vector);
    /// Lanes `from..to`, both at most `WIDTH`.
    unsafe fn mask(from: usize, to: usize) -> Self::Mask;
    /// The masked lanes from memory, zero in the others.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self::Vector;
    /// The masked lanes to memory.
    unsafe fn store_masked(to: *mut f32, mask: Self::Mask, v: Self::Vector);
    /// Asks for the cache line at `address`, which may be any.
    unsafe fn prefetch(address: *const f32);
    /// Asks for it in the second-level cache.
    unsafe fn prefetch_near(address: *const f32);

    /// `a + b`
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `c - a * b`
    unsafe fn fnma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `max(a, 0)`; NaN stays NaN.
    unsafe fn relu(a: Self::Vector) -> Self::Vector;

    /// Splits the sequence `a, b` of units of `UNIT` lanes (1, 2 or 4) into its even and its odd units.
    unsafe fn deinterleave<const UNIT: usize>(
        a: Self::Vector,
        b: Self::Vector,
    ) -> (Self::Vector, Self::Vector);
    /// The inverse of [`Lanes::deinterleave`].
    unsafe fn interleave<const UNIT: usize>(
        even: Self::Vector,
        odd: Self::Vector,
    ) -> (Self::Vector, Self::Vector);
    /// `a` without its first unit, followed by unit number `unit` (0 or 1) of `next`.
    unsafe fn advance<const UNIT: usize>(
        a: Self::Vector,
        next: Self::Vector,
        unit: usize,
    ) -> Self::Vector;

    /// See [`super::gemm::multiply`].
    unsafe fn register_tile(tile: super::gemm::RegisterTile);
}

/// Vectors in a packed panel: with 8 rows this fills 24 of 32 registers with sums.
pub(super) const PANEL_VECTORS: usize = 3;
/// Numbers in a cache line.
pub(super) const LINE: usize = 16;
/// The largest [`Lanes::ROWS`].
pub(super) const MAX_ROWS: usize = 8;

/// The instruction sets that have an implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstructionSet {
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 8 lanes of plain Rust, which the compiler turns into what the target has.
    Portable,
}

impl InstructionSet {
    /// All that this machine can run, best first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            (std::arch::is_x86_feature_detected!("avx512f"), Self::Avx512),
            (
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma"),
                Self::Avx2,
            ),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [];
        wide.into_iter()
            .filter_map(|(exists, set)| exists.then_some(set))
            .chain(std::iter::once(Self::Portable))
    }

    /// Does a task with this set.
    ///
    /// # Safety
    /// As [`Task::run`].
    pub(super) unsafe fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: the caller's.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => task.run::<super::lanes_x86::Avx512>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => task.run::<super::lanes_x86::Avx2>(),
                Self::Portable => task.run::<Portable>(),
            }
        }
    }

    /// The best that this machine can run. (The standard library remembers what it detected.)
    pub(super) fn best() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }
}

/// What the machine-independent vector does, lane by lane.
#[derive(Clone, Copy)]
pub(super) struct Portable;

const PORTABLE_WIDTH: usize = 8;

/// One portable vector. On 64-bit ARM it is two registers.
type Array = [f32; PORTABLE_WIDTH];

#[inline(always)]
fn zip(a: Array, b: Array, f: impl Fn(f32, f32) -> f32) -> Array {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// `a * b + c`: fused where the target has the instruction, since the library call that replaces it
/// elsewhere costs fifty times as much.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

impl Lanes for Portable {
    type Vector = Array;
    type Mask = (usize, usize);
    const WIDTH: usize = PORTABLE_WIDTH;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn enter<K: Kernel>(kernel: K) {
        // SAFETY: needs no special instruction; the rest is the caller's.
        unsafe { kernel.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Array {
        [x; PORTABLE_WIDTH]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Array {
        // SAFETY: the caller vouches for all lanes.
        unsafe { from.cast::<Array>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Array) {
        // SAFETY: the caller vouches for all lanes.
        unsafe { to.cast::<Array>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn mask(from: usize, to: usize) -> Self::Mask {
        (from, to)
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Array {
        let inside = |i| mask.0 <= i && i < mask.1;
        // SAFETY: the caller vouches for the masked lanes, and only those are read.
        std::array::from_fn(
            |i| if inside(i) { unsafe { from.wrapping_add(i).read() } } else { 0.0 },
        )
    }
    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: Self::Mask, v: Array) {
        for (i, x) in v.into_iter().enumerate().take(mask.1).skip(mask.0) {
            // SAFETY: the caller vouches for the masked lanes.
            unsafe { to.wrapping_add(i).write(x) }
        }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_near(_: *const f32) {}
    #[inline(always)]
    unsafe fn add(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn fma(a: Array, b: Array, c: Array) -> Array {
        std::array::from_fn(|i| multiply_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn fnma(a: Array, b: Array, c: Array) -> Array {
        std::array::from_fn(|i| multiply_add(-a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn relu(a: Array) -> Array {
        a.map(|x| if x < 0.0 { 0.0 } else { x })
    }
    #[inline(always)]
    unsafe fn deinterleave<const UNIT: usize>(a: Array, b: Array) -> (Array, Array) {
        let half = |odd: usize| {
            std::array::from_fn(|i| {
                let at = (i / UNIT * 2 + odd) * UNIT + i % UNIT;
                if at < PORTABLE_WIDTH { a[at] } else { b[at - PORTABLE_WIDTH] }
            })
        };
        (half(0), half(1))
    }
    #[inline(always)]
    unsafe fn interleave<const UNIT: usize>(even: Array, odd: Array) -> (Array, Array) {
        let half = |start: usize| {
            std::array::from_fn(|i| {
                let unit = (start + i) / UNIT;
                let from = unit / 2 * UNIT + i % UNIT;
                if unit.is_multiple_of(2) { even[from] } else { odd[from] }
            })
        };
        (half(0), half(PORTABLE_WIDTH))
    }
    #[inline(always)]
    unsafe fn advance<const UNIT: usize>(a: Array, next: Array, unit: usize) -> Array {
        std::array::from_fn(|i| {
            let at = i + UNIT;
            if at < PORTABLE_WIDTH { a[at] } else { next[at - PORTABLE_WIDTH + unit * UNIT] }
        })
    }
    #[inline(always)]
    unsafe fn register_tile(tile: super::gemm::RegisterTile) {
        // SAFETY: the caller's.
        unsafe { tile.run::<Self, { Self::ROWS }>() }
    }
}
