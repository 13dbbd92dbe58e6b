//! The engine's clock: starts at the wall clock and goes on by the boot-time clock, so that setting
//! the wall clock neither fires a timer early nor holds one up, and a suspended machine counts.

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
        Self { wall_at_start: millis(ClockId::Realtime), boot_at_start: millis(BOOT) }
    }

    /// The instant.
    pub fn now(&self) -> Millis {
        Millis(self.wall_at_start + (millis(BOOT) - self.boot_at_start).max(0))
    }
}

#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::Monotonic;

fn millis(clock: ClockId) -> i64 {
    let t = clock_gettime(clock);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}
