//! The engine's clock: starts at the wall clock and goes on by the boot-time clock, so that setting
//! the wall clock neither fires a timer early nor holds one up, and a suspended machine counts.

use std::time::{SystemTime, UNIX_EPOCH};

use moa_core::time::Millis;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the epoch that never go back.
pub struct Clock {
    wall_at_start: i64,
    boot_at_start: i64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { wall_at_start: wall(), boot_at_start: millis(BOOT) }
    }

    /// The instant.
    pub fn now(&self) -> Millis {
        Millis(self.wall_at_start + (millis(BOOT) - self.boot_at_start).max(0))
    }

    /// By how many milliseconds the wall clock is ahead of this one: not 0 once somebody has set it.
    pub fn wall_ahead(&self) -> i64 {
        wall() - self.now().0
    }
}

#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::Monotonic;

/// Asked of the C library, as programs that replace the time for a process expect.
fn wall() -> i64 {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH);
    let millis = since(SystemTime::now()).map(|time| time.as_millis());
    millis.ok().and_then(|millis| i64::try_from(millis).ok()).unwrap_or(0)
}

fn millis(clock: ClockId) -> i64 {
    let t = clock_gettime(clock);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}
