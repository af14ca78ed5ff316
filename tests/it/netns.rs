//! Network namespaces of a test, connected by cables and a bridge. They take root, iproute2 and nsenter.

use std::process::{Command, Stdio};

/// Namespaces that are removed in the end.
pub(crate) struct Namespaces {
    prefix: String,
    names: &'static [&'static str],
}

impl Namespaces {
    /// New ones, in which nothing is but the loopback, under their names behind a prefix that nobody else has.
    ///
    /// # Errors
    /// What keeps them from being made here.
    pub(crate) fn new(prefix: String, names: &'static [&'static str]) -> Result<Self, String> {
        let namespaces = Self::known(prefix, names);
        for name in names {
            run(&["ip", "netns", "add", &namespaces.full(name)])?;
            namespaces.run(name, &["ip", "link", "set", "lo", "up"])?;
        }
        Ok(namespaces)
    }

    /// Those that somebody else has made.
    pub(crate) const fn known(prefix: String, names: &'static [&'static str]) -> Self {
        Self { prefix, names }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The beginning of a command line that runs in a namespace. It keeps the mounts of this process.
    pub(crate) fn inside(&self, name: &str) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.full(name))]
    }

    /// A program that runs in a namespace.
    pub(crate) fn command(&self, name: &str, program: &str) -> Command {
        let [enter, namespace] = self.inside(name);
        let mut command = Command::new(enter);
        command.args([&*namespace, program]);
        command
    }

    /// Runs a command line in a namespace to its end.
    ///
    /// # Errors
    /// If it fails: with what it says.
    pub(crate) fn run(&self, name: &str, line: &[&str]) -> Result<(), String> {
        let inside = self.inside(name);
        run(&[&[inside[0].as_str(), &inside[1]], line].concat())
    }

    /// Makes a bridge, to which cables are [plugged](Self::plug).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn bridge(&self, name: &str) -> Result<(), String> {
        self.run(name, &["ip", "link", "add", "bridge", "type", "bridge"])?;
        self.run(name, &["ip", "link", "set", "bridge", "up"])
    }

    /// A cable from `from`, where it is called `to-` and the other end, to `eth0` of `to`, which gets an address.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn link(&self, from: &str, to: &str, address: &str) -> Result<(), String> {
        let (near, peer) = (format!("to-{to}"), self.full(to));
        let add =
            ["ip", "link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &peer];
        self.run(from, &add)?;
        self.run(from, &["ip", "link", "set", &near, "up"])?;
        self.run(to, &["ip", "address", "add", address, "dev", "eth0"])?;
        self.run(to, &["ip", "link", "set", "eth0", "up"])
    }

    /// The same, with the near end in the bridge there.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn plug(&self, bridge: &str, to: &str, address: &str) -> Result<(), String> {
        self.link(bridge, to, address)?;
        self.run(bridge, &["ip", "link", "set", &format!("to-{to}"), "master", "bridge"])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.names {
            drop(run(&["ip", "netns", "delete", &self.full(name)]));
        }
    }
}

/// Runs a command line to its end.
///
/// # Errors
/// If it fails: with what it says.
pub(crate) fn run(line: &[&str]) -> Result<(), String> {
    let output = Command::new(line[0]).args(&line[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{line:?}: {error}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{line:?}: {}", complaint.trim())) }
}
