//! What the system says about this process: for metrics and health. Nothing here is on a request path.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;

/// When the process started, as far as it noticed: the first call sets it, and `main` makes that call.
pub fn started_at() -> Timestamp {
    static STARTED: OnceLock<Timestamp> = OnceLock::new();
    *STARTED.get_or_init(Timestamp::now)
}

/// Makes the calling thread yield to all others: what it does may take as long as it likes.
pub fn lower_priority_of_thread() {
    // Elsewhere the call is about the whole process. Where it fails, the thread keeps its priority.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 19);
}

/// CPU time in user and system mode.
pub fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Open file descriptors; `None` where there is no `/proc`.
pub fn open_descriptors() -> Option<u64> {
    // The look itself has one open.
    u64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_a_living_process() {
        assert!(cpu_time().expect("Linux") > Duration::ZERO);
        let file = std::fs::File::open("/proc/self/statm").expect("Linux");
        assert!(open_descriptors().expect("Linux") >= 4);
        drop(file);
        assert!(started_at() <= Timestamp::now());
    }
}
