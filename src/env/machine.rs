//! What the machine and its operating system grant this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::Path;
use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The name of this machine, by which others may find it.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How many letters a line of standard output has, if that is a terminal that says so.
#[must_use]
pub fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Memory that this process may use: that of the machine, or of the container if that is less. `None` if neither says.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min();
    match (machine, container) {
        (Some(machine), Some(container)) => Some(machine.min(container)),
        (machine, container) => machine.or(container),
    }
}

/// Lets this process have as many open files as the system allows it: each connection and each segment takes one. Gives
/// the limit, `None` if there is none.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // With the old limit the broker runs too, only with fewer connections.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Takes what was run so far of this program's code out of its memory: most of it is of use to a start alone. What is run again
/// comes back from the page cache, in pieces.
///
/// # Errors
/// If the kernel does not say where the code is.
pub fn give_back_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for range in maps.lines().filter_map(|line| code_of(&program, line)) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: nobody writes to code, so that what the file has in its place is the same.
        #[expect(unsafe_code, reason = "no crate can know that nothing is lost")]
        let given_back = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
        if given_back != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Where a line of `/proc/self/maps` says that there is code of a program: addresses, what may be done, offset, device, inode, path.
fn code_of(program: &Path, line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp" && Path::new(fields.nth(3)?) == program;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    is_code.then_some(address(start)?..address(end)?)
}

/// How many files this process may have open; `None` if there is no limit.
pub(super) fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The default gateways of this machine, or of the container that this process lives in.
#[must_use]
pub fn default_gateways() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (v4, v6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    let v4 = v4.lines().filter_map(gateway_v4).map(IpAddr::V4);
    v4.chain(v6.lines().filter_map(gateway_v6).map(IpAddr::V6)).collect()
}

/// The gateway in a line of `/proc/net/route`, if the line is of a default route: interface, destination, gateway, flags,
/// reference count, use, metric, mask; addresses in hexadecimal digits, the last byte first.
fn gateway_v4(line: &str) -> Option<Ipv4Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "00000000", gateway, _, _, _, _, "00000000", ..] = fields[..] else { return None };
    let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.swap_bytes());
    (!address.is_unspecified()).then_some(address)
}

/// The same for a line of `/proc/net/ipv6_route`: destination, its length, source, its length, next hop.
fn gateway_v6(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, "00", _, _, hop, ..] = fields[..] else { return None };
    let address = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
    let is_default = destination.bytes().all(|digit| digit == b'0');
    (is_default && !address.is_unspecified()).then_some(address)
}

/// Who listens on a TCP port of this machine, for a message: `process 42 (java)`. `None` if nobody does, or it may not be known.
#[must_use]
pub fn port_owner(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>()
        })
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut owners = processes.filter_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        let has = open.any(|descriptor| {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            sockets.iter().any(|socket| target.to_str() == Some(socket))
        });
        let name =
            has.then(|| fs::read_to_string(process.path().join("comm")).unwrap_or_default())?;
        Some(format!("process {id} ({})", name.trim_end()))
    });
    owners.next()
}

/// The socket of a line of `/proc/net/tcp`, as links to it are named, if it listens on `port`: number, local address, remote
/// address, state (0A listens), four more, user, timeout, inode.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    let inode = fields.get(9)?;
    listens.then(|| format!("socket:[{inode}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_was_given_back_comes_back() {
        let resident = || {
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            let program = fs::read_link("/proc/self/exe").unwrap();
            let mut lines = maps.lines().skip_while(|line| code_of(&program, line).is_none());
            let kilobytes = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
            kilobytes.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        give_back_code().unwrap();
        let after = resident();
        assert!(after < before, "{after} of {before} kB");
        assert!(memory_bytes().is_some());
    }

    #[test]
    fn only_what_is_run_is_code() {
        let program = Path::new("/bin/ottla");
        let line = |may: &str, path: &str| {
            code_of(
                program,
                &format!("55a293457000-55a294273000 {may} 0035a000 fe:00 42    {path}"),
            )
        };
        assert_eq!(line("r-xp", "/bin/ottla"), Some(0x55a2_9345_7000..0x55a2_9427_3000));
        for (may, path) in [("r--p", "/bin/ottla"), ("rw-p", "/bin/ottla"), ("r-xp", "[vdso]")] {
            assert_eq!(line(may, path), None);
        }
    }

    #[test]
    fn gateways_are_those_of_default_routes() {
        let v4 = |line| gateway_v4(line).map(|address| address.to_string());
        let default = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(v4(default), Some("172.17.0.1".to_owned()));
        assert_eq!(v4("eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"), None);
        assert_eq!(v4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask"), None);
        let zero = "00000000000000000000000000000000";
        let hop = "fd000000000000000000000000000001";
        let line = format!("{zero} 00 {zero} 00 {hop} 00000400 00000001 00000000 00000003 eth0");
        assert_eq!(gateway_v6(&line).map(|at| at.to_string()), Some("fd00::1".to_owned()));
        let own = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo");
        assert_eq!(gateway_v6(&own), None);
    }

    #[test]
    fn the_owner_of_a_port_is_found() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(taken.local_addr().unwrap().port()).unwrap();
        assert!(owner.starts_with(&format!("process {} (", std::process::id())), "{owner}");
    }

    #[test]
    fn this_machine_has_memory_and_descriptors() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 64 << 20));
        assert!(raise_descriptor_limit().is_none_or(|limit| limit >= 64));
    }
}
