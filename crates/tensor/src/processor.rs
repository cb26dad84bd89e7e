//! The CPU's model, its instruction sets and its bf16 instructions.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The instruction set of kernels; per instruction set, results are bit-identical for any number of
/// threads.
///
/// ```
/// use ff_tensor::Isa;
/// assert!(Isa::detect() >= Isa::Plain);
/// assert_eq!("avx2".parse::<Isa>(), Ok(Isa::Avx2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust as compiled; the reference for the others.
    Plain,
    /// AVX2 and FMA, 256-bit vectors.
    Avx2,
    /// AVX-512 (F, VL, DQ, BW), 512-bit vectors.
    Avx512,
    /// AVX-512, and AMX tiles for products of bf16.
    Amx,
}

impl Isa {
    /// All instruction sets in ascending order.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Avx2, Self::Avx512, Self::Amx];

    /// The best instruction set of this CPU.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            if avx2 && avx512 {
                return if has_amx() { Isa::Amx } else { Isa::Avx512 };
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Plain
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "plain" => Ok(Isa::Plain),
            "avx2" => Ok(Isa::Avx2),
            "avx512" => Ok(Isa::Avx512),
            "amx" => Ok(Isa::Amx),
            other => Err(Error::Device(format!(
                "unknown instruction set `{other}`; expected plain, avx2, avx512 or amx"
            ))),
        }
    }
}

/// The path of bf16 products; each path sums in its own order, so results differ in their last
/// bits.
///
/// ```
/// use ff_tensor::{Bf16Kernels, Device, DeviceOptions, Isa};
/// let plain = Device::open(DeviceOptions { threads: 1, isa: Some(Isa::Plain) })?;
/// assert_eq!(plain.cpu().bf16(), Bf16Kernels::Widened);
/// assert_eq!(Bf16Kernels::Tiles.to_string(), "tiles");
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bf16Kernels {
    /// Values are rounded to bf16, widened to f32 and multiplied as f32.
    Widened,
    /// Dot products of pairs (AVX-512 BF16, `vdpbf16ps`).
    Pairs,
    /// Products of tiles (AMX, `tdpbf16ps`).
    Tiles,
}

impl Bf16Kernels {
    /// The fastest bf16 path of this CPU for a kernel path.
    pub(crate) fn on(isa: Isa) -> Self {
        match isa {
            Isa::Amx => Self::Tiles,
            Isa::Avx512 if pairs_are_fast() => Self::Pairs,
            _ => Self::Widened,
        }
    }

    /// The name in checkpoints and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Pairs => "pairs",
            Self::Tiles => "tiles",
        }
    }
}

impl fmt::Display for Bf16Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether dot products of bf16 pairs are faster than f32 multiply-adds: on AMD CPUs (Zen 4, Zen 5)
/// they do twice the work, on Intel CPUs (Cooper Lake to Emerald Rapids) half of it.
fn pairs_are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16") && x86::vendor() == *b"AuthenticAMD";
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether bf16 tiles are usable: the CPU has them, and the system grants their registers to this
/// process.
pub(crate) fn has_amx() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return x86::amx();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// The CPU's vendor, family and model, the key of tables of tuned constants: `GenuineIntel-6-207`.
///
/// ```
/// assert!(!ff_tensor::processor_id().is_empty());
/// ```
pub fn processor_id() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = x86::vendor();
        let (family, model) = x86::family_and_model();
        format!("{}-{family}-{model}", String::from_utf8_lossy(&vendor))
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.into()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::__cpuid;

    /// The twelve letters of the vendor.
    pub(super) fn vendor() -> [u8; 12] {
        let leaf = __cpuid(0);
        let mut letters = [0; 12];
        for (to, from) in letters.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        letters
    }

    /// Family and model, with their extended parts (Intel's manual, `CPUID`).
    pub(super) fn family_and_model() -> (u32, u32) {
        let signature = __cpuid(1).eax;
        let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
        let extended = signature >> 16 & 0xf;
        let whole = if family == 0xf { family + (signature >> 20 & 0xff) } else { family };
        (whole, if family == 0xf || family == 6 { model + (extended << 4) } else { model })
    }

    /// Requests once whether this process may use bf16 tiles.
    #[cfg(target_os = "linux")]
    pub(super) fn amx() -> bool {
        use std::arch::x86_64::{__cpuid_count, _xgetbv};
        use std::sync::OnceLock;

        /// The request of `arch_prctl` for a part of the extended state, and the part: tile data.
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;

        #[target_feature(enable = "xsave")]
        unsafe fn enabled() -> u64 {
            // SAFETY: guaranteed by the caller: the CPU has the instruction.
            unsafe { _xgetbv(0) }
        }

        static AMX: OnceLock<bool> = OnceLock::new();
        *AMX.get_or_init(|| {
            if __cpuid(0).eax < 7 || __cpuid(1).ecx & 1 << 27 == 0 {
                return false;
            }
            // AMX-BF16 and AMX-TILE; then the bits of tile configuration and data in the state
            // saved by the system.
            let has = 1 << 22 | 1 << 24;
            let saved = 1 << 17 | 1 << 18;
            // SAFETY: bit 27 says that the system has enabled XSAVE and its register.
            if __cpuid_count(7, 0).edx & has != has || unsafe { enabled() } & saved != saved {
                return false;
            }
            // Conversions and stores around the tiles use AVX-512.
            if !is_x86_feature_detected!("avx512bf16") {
                return false;
            }
            // SAFETY: the request takes two numbers and no memory; the permission holds for the
            // process and its children.
            let answer = unsafe {
                libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
            };
            answer == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_bf16_follows_the_path() {
        assert_eq!(Bf16Kernels::on(Isa::Plain), Bf16Kernels::Widened);
        assert_eq!(Bf16Kernels::on(Isa::Avx2), Bf16Kernels::Widened);
        assert_eq!(Bf16Kernels::on(Isa::Amx), Bf16Kernels::Tiles);
        assert_ne!(Bf16Kernels::on(Isa::Avx512), Bf16Kernels::Tiles);
        assert_eq!(Isa::detect() == Isa::Amx, has_amx() && Isa::detect() > Isa::Avx2);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_processor_is_named() {
        let id = processor_id();
        let mut parts = id.rsplit('-');
        assert!(parts.next().is_some_and(|model| model.parse::<u32>().is_ok()), "{id}");
        assert!(parts.next().is_some_and(|family| family.parse::<u32>().is_ok()), "{id}");
    }
}
