//! A power-service with safety parameters from its command line: the shipped library without one of its rules, so that
//! a test sees safety fail and the checker detect it. It is not part of a shipped program.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use domain::ring::fence::Times;
use domain::time::Timestamp;
use mesh::{Clock, Reading, SafetyParams, boottime};
use service_kit::clock;
use service_kit::run::{Arguments, run_with};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);
/// Interval between two readings of the time by a clock that stops with its process.
const TICK: Duration = Duration::from_millis(1);
/// Maximum step of such a clock between two readings; a busy machine is not a stopped one.
const STEP: Duration = Duration::from_millis(50);

/// A power-service without the rules that its options remove.
#[derive(Debug, Parser)]
struct Bent {
    #[command(flatten)]
    arguments: Arguments,
    /// Clock of the fence.
    #[arg(long, value_enum, default_value_t = Kind::Real)]
    clock: Kind,
    /// Whether a journal entry arms for A and a keep-alive lasts for F, or both forever.
    #[arg(long, value_enum, default_value_t = Permits::Checked)]
    permits: Permits,
    /// Handling of the BMC sessions of earlier owners.
    #[arg(long, value_enum, default_value_t = Sessions::Closed)]
    sessions: Sessions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// CLOCK_BOOTTIME, which continues while the process is stopped.
    Real,
    /// A clock that stops with the process, as in a virtual machine that is paused.
    Frozen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Permits {
    Checked,
    Unchecked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sessions {
    Closed,
    LeftOpen,
}

fn main() -> ExitCode {
    let bent = Bent::parse();
    let mut safety = SafetyParams::default();
    if bent.permits == Permits::Unchecked {
        safety = safety.dangerous_times(Times { arm: NEVER, fence: NEVER, ..Times::default() });
    }
    if bent.clock == Kind::Frozen {
        safety = safety.dangerous_clock(frozen());
    }
    if bent.sessions == Sessions::LeftOpen {
        safety = safety.dangerous_leave_sessions_open();
    }
    run_with("power-service", &bent.arguments, move |config, kit| power_service::run_with(config, kit, safety))
}

/// A clock that a thread of this process advances, and that stops whenever that thread does.
fn frozen() -> Clock {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let begun = Reading { boot: boottime(), wall: clock::now() };
    let gone = Arc::new(AtomicU64::new(0));
    let driven = Arc::clone(&gone);
    std::thread::spawn(move || {
        let mut last = begun.boot;
        loop {
            std::thread::sleep(TICK);
            let now = boottime();
            driven.fetch_add(nanoseconds(now.saturating_sub(last).min(STEP)), Ordering::Relaxed);
            last = now;
        }
    });
    Clock::new(move || {
        let gone = Duration::from_nanos(gone.load(Ordering::Relaxed));
        let wall = i64::try_from(gone.as_millis()).unwrap_or(i64::MAX);
        Reading { boot: begun.boot + gone, wall: Timestamp::from_millis(begun.wall.millis().saturating_add(wall)) }
    })
}
