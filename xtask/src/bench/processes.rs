//! What a process costs, read from /proc.

use std::fs;

use anyhow::{Context as _, Result, bail};

/// Clock ticks per second in /proc; fixed at 100 for every Linux that this runs on (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// CPU seconds: user and system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// What a process and its children have used; nginx works in a child.
pub(crate) fn cpu(process: u32) -> Result<Cpu> {
    let mut sum = Cpu::default();
    for process in family(process)? {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (user, system) = times(&stat).context("/proc/PID/stat has no times")?;
        sum.user += user;
        sum.system += system;
    }
    Ok(sum)
}

/// The process, then its children.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(std::iter::once(process).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect())
}

/// The 14th and 15th field; the second, the program's name, may hold spaces and ends with the last parenthesis.
fn times(stat: &str) -> Option<(f64, f64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
    Some((seconds()?, seconds()?))
}

/// Resident memory of a process in KiB: all of it, and the part that is not backed by files.
pub(crate) fn memory(process: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    match (kibibytes(&status, "VmRSS:"), kibibytes(&status, "RssAnon:")) {
        (Some(all), Some(anonymous)) => Ok((all, anonymous)),
        _ => bail!("/proc/{process}/status does not say how much memory is resident"),
    }
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The load average of the last minute.
pub(crate) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split_whitespace().next().and_then(|load| load.parse().ok()).context("/proc/loadavg is odd")
}

#[cfg(test)]
mod tests {
    use super::{cpu, family, kibibytes, memory, times};

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194560 100 0 0 0 250 75 0 0 20 0 1 0 100 1 1";
        assert_eq!(times(stat), Some((2.5, 0.75)));
    }

    #[test]
    fn memory_is_read_by_name() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234.0));
    }

    #[test]
    fn this_process_has_used_something() {
        let this = std::process::id();
        assert!(family(this).unwrap().contains(&this));
        assert!(cpu(this).unwrap().total() >= 0.0);
        assert!(memory(this).unwrap().0 > 0.0);
    }
}
