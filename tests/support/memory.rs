//! What a process needed.

/// Peak memory of this process in MiB, where the system tells it (Linux).
pub fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Some(peak?.trim().parse::<f64>().ok()? / 1024.0)
}
