//! Threads that take as much of processors as listeners do, for nobody.
//!
//! A machine that does more has slower disks and caches, whoever it does it for: what listeners cost
//! is what is worse with them than with these.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity, sched_yield};
use rustix::time::{ClockId, clock_gettime};

use super::listeners::{LISTENERS_NICE, THREADS};

/// The nice value of the node's thread that tells who listens.
const TELLING_NICE: i32 = 5;
/// What of its work comes together: as long as it takes to tell one who listens.
const PIECE: Duration = Duration::from_micros(20);
/// How long each rests when it has taken its share.
const BEAT: Duration = Duration::from_millis(1);

/// Some such threads, until it goes.
pub struct Busy {
    threads: Vec<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
}

impl Busy {
    /// As those who listen: on their processors, and with so many of them taken.
    pub fn as_listeners(on: Option<CpuSet>, taken: f64) -> Self {
        Self::start(THREADS, taken, move || {
            let _ = rustix::process::setpriority_process(None, LISTENERS_NICE);
            if let Some(on) = &on {
                let _ = sched_setaffinity(None, on);
            }
        })
    }

    /// As the thread that tells them: on the processors of who calls.
    pub fn as_telling(taken: f64) -> Self {
        Self::start(1, taken, || {
            let _ = rustix::process::setpriority_process(None, TELLING_NICE);
        })
    }

    fn start(count: usize, taken: f64, place: impl Fn() + Clone + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let share = taken / count as f64;
        let thread = || {
            let (ends, place) = (ends.clone(), place.clone());
            std::thread::spawn(move || {
                place();
                work(share, &ends);
            })
        };
        Self { threads: (0..count).map(|_| thread()).collect(), ends }
    }
}

/// Takes such a share of a processor, evenly.
fn work(share: f64, ends: &AtomicBool) {
    let (begin, before) = (Instant::now(), taken());
    while !ends.load(Ordering::Relaxed) {
        while taken() - before < begin.elapsed().mul_f64(share.max(0.0))
            && !ends.load(Ordering::Relaxed)
        {
            count_for(PIECE);
            // Others go first, as after each who is told.
            sched_yield();
        }
        std::thread::sleep(BEAT);
    }
}

/// The processor time of this thread.
fn taken() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn count_for(span: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < span {
        std::hint::spin_loop();
    }
}
