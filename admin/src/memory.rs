//! What this process holds of the memory that it may use: for the health of the control plane and of the gateway.

/// The deployment standard's threshold.
const HIGH_PERCENT: u64 = 85;

/// Memory at one moment; a number is missing where the system does not tell it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident bytes.
    pub resident: Option<u64>,
    /// The cgroup's limit or the machine's memory, whichever is less.
    pub limit: Option<u64>,
}

impl Memory {
    /// Looks.
    pub fn now() -> Self {
        Self { resident: resident(), limit: limit() }
    }

    /// Whether it is so much that somebody should look: 85 % of the limit.
    pub fn is_high(&self) -> bool {
        self.resident.zip(self.limit).is_some_and(|(used, limit)| used / 100 >= limit / 10_000 * HIGH_PERCENT)
    }
}

/// Resident memory; `None` where there is no `/proc`.
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

fn limit() -> Option<u64> {
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = cgroup.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limits.chain(machine()).min()
}

fn machine() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_a_living_process() {
        let memory = Memory::now();
        let resident = memory.resident.expect("Linux");
        assert!((1 << 20..1 << 36).contains(&resident), "{resident}");
        assert!(memory.limit.expect("Linux") > resident);
    }

    #[test]
    fn from_85_percent_on_it_is_high_and_what_is_not_known_is_not() {
        let memory = |resident, limit| Memory { resident, limit };
        assert!(memory(Some(85_000_000), Some(100_000_000)).is_high());
        assert!(!memory(Some(84_000_000), Some(100_000_000)).is_high());
        assert!(!memory(None, Some(1)).is_high() && !memory(Some(1), None).is_high());
    }
}
