//! What the kernel says of this process, under the names that Prometheus' own client libraries use.
//!
//! Read from /proc when somebody asks; where there is none, these series are left out.

use std::fs;

use super::Page;

/// Adds the process's own series.
pub fn render(page: &mut Page) {
    let Some(process) = Process::read() else { return };
    page.family("process_cpu_seconds_total", "counter", "Processor time used, in seconds.");
    page.sample("process_cpu_seconds_total", "", process.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
    page.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", process.start_seconds);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open file descriptors.", open.count() as f64);
    }
    if let Some(most) = max_fds() {
        page.gauge("process_max_fds", "Most file descriptors allowed.", most);
    }
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: f64,
}

impl Process {
    /// Fields of /proc/self/stat, counted from 3 after the name in parentheses; see proc(5).
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<f64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            start_seconds: boot_seconds()? + field(22)? / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE_BYTES,
        })
    }
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// USER_HZ, which Linux has kept at 100 on every architecture for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// On x86-64, and on arm64 as usually configured.
const PAGE_BYTES: f64 = 4096.0;
