//! What this machine is called.

/// `$HOSTNAME`, else the operating system's name, as the reference does it.
pub fn of_this_machine() -> String {
    let of_environment = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let of_system = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).ok();
    of_environment.or_else(of_system).unwrap_or_else(|| "localhost".to_owned())
}
