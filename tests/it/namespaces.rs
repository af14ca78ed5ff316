//! What clients are told to connect to, as it depends on where they come from: in network namespaces that the test makes.
//!
//! They are laid out as an engine for containers lays them out: a host with a bridge, two containers on it, and another machine
//! that reaches them through the host. That takes root and iproute2; where they are missing, nothing is run, and the test
//! says so. The test binary itself is what runs in the namespaces, told by variables what to do there.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use ottla::wire::Text;
use ottla::wire::messages::{DescribeClusterRequest, FindCoordinatorRequest};

use crate::netns::Namespaces;
use crate::rig::Client;

/// The address that the test binary is to ask, when it runs in a namespace.
const ASK: &str = "OTTLA_TEST_ASK";
/// The addresses between which it is to carry bytes.
const CARRY: &str = "OTTLA_TEST_CARRY";

/// A host with two containers, and another machine.
struct Network(Namespaces);

impl Network {
    /// # Errors
    /// What keeps it from being made here.
    fn new() -> Result<Self, String> {
        let network = Namespaces::new(format!("ottla{}", std::process::id()), &NAMES)?;
        network.bridge("host")?;
        network.run("host", &["ip", "address", "add", "172.30.0.1/24", "dev", "bridge"])?;
        for (name, address) in [("broker", "172.30.0.2/24"), ("sibling", "172.30.0.3/24")] {
            network.plug("host", name, address)?;
            network.run(name, &["ip", "route", "add", "default", "via", "172.30.0.1"])?;
        }
        network.link("host", "machine", "10.9.0.2/24")?;
        network.run("host", &["ip", "address", "add", "10.9.0.1/24", "dev", "to-machine"])?;
        network.run("machine", &["ip", "route", "add", "default", "via", "10.9.0.1"])?;
        network.run("host", &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        Ok(Self(network))
    }

    /// A broker in the namespace of the same name, whose port is the first of these arguments.
    fn broker(&self, arguments: &[&str]) -> Process {
        let mut command = self.0.command("broker", env!("CARGO_BIN_EXE_ottla"));
        command.args(["--memory", "--http", "off"]).args(arguments).stderr(Stdio::null());
        Process::ready(&mut command, "ottla ready ")
    }

    /// What a client in a namespace is told that dials `address`.
    fn told(&self, name: &str, address: &str) -> String {
        let me = std::env::current_exe().unwrap();
        let mut command = self.0.command(name, me.to_str().unwrap());
        command.args(["--exact", "namespaces::what_runs_inside", "--nocapture"]);
        let output = command.env(ASK, address).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = text.lines().find_map(|line| line.split_once("told ").map(|(_, told)| told));
        told.unwrap_or_else(|| panic!("{name} asked {address}: {output:?}")).to_owned()
    }
}

const NAMES: [&str; 4] = ["host", "broker", "sibling", "machine"];

/// A process that ends with the value.
struct Process(Child);

impl Process {
    /// Waits for the line that says that it is there.
    fn ready(command: &mut Command, line: &str) -> Self {
        let mut process = Self(command.stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(process.0.stdout.as_mut().unwrap()).lines();
        let found = lines.map_while(Result::ok).any(|other| other.contains(line));
        assert!(found, "it ended before it said: {line}");
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Not a test of its own: what the others run in a namespace. Without their variables it does nothing.
#[tokio::test]
async fn what_runs_inside() {
    if let Ok(address) = std::env::var(ASK) {
        let told = ask(&address).await;
        // What it was told has to lead back to the broker.
        assert_eq!(ask(&told).await, told);
        println!("told {told}");
    }
    if let Ok(addresses) = std::env::var(CARRY) {
        let (from, to) = addresses.split_once(' ').unwrap();
        let listener = tokio::net::TcpListener::bind(from).await.unwrap();
        println!("carrying");
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            // Either side may go when it likes.
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        }
    }
}

/// The endpoint that a broker gives, which has to be the same in all that it answers.
async fn ask(address: &str) -> String {
    let mut client = Client::to(address).await;
    let shown = |host: &Text, port: i32| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let metadata = client.metadata(&[]).await;
    let told = shown(&metadata.brokers[0].host, metadata.brokers[0].port);
    let cluster = client.call(1, &DescribeClusterRequest::default()).await;
    assert_eq!(shown(&cluster.brokers[0].host, cluster.brokers[0].port), told);
    let mut request = FindCoordinatorRequest::default();
    request.coordinator_keys = vec![Text::from_static_str("group")];
    let found = client.call(4, &request).await;
    assert_eq!(shown(&found.coordinators[0].host, found.coordinators[0].port), told);
    told
}

#[test]
fn each_client_is_told_an_address_that_it_can_reach() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(obstacle) => {
            println!("not run: network namespaces take root and iproute2 ({obstacle})");
            return;
        }
    };
    let _broker = network.broker(&["--listen", ":9092"]);
    // Inside, over both families.
    assert_eq!(network.told("broker", "127.0.0.1:9092"), "127.0.0.1:9092");
    assert_eq!(network.told("broker", "[::1]:9092"), "[::1]:9092");
    // From the same network of containers, and from elsewhere by the same address.
    assert_eq!(network.told("sibling", "172.30.0.2:9092"), "172.30.0.2:9092");
    assert_eq!(network.told("machine", "172.30.0.2:9092"), "172.30.0.2:9092");
    // From the host by a published port: the engine's proxy dials the container from the gateway's address.
    let me = std::env::current_exe().unwrap();
    let mut carry = network.0.command("host", me.to_str().unwrap());
    carry.args(["--exact", "namespaces::what_runs_inside", "--nocapture"]);
    carry.env(CARRY, "127.0.0.1:9092 172.30.0.2:9092");
    let _proxy = Process::ready(&mut carry, "carrying");
    assert_eq!(network.told("host", "127.0.0.1:9092"), "localhost:9092");
    // What is set counts before all that, for its listener.
    let _second = network.broker(&[
        "-o",
        "listeners=INSIDE://:9192,OUTSIDE://:9292",
        "-o",
        "listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
        "-o",
        "inter.broker.listener.name=INSIDE",
        "-o",
        "advertised.listeners=INSIDE://172.30.0.2:9192,OUTSIDE://172.30.0.2:9292",
    ]);
    for name in ["broker", "sibling", "machine", "host"] {
        assert_eq!(network.told(name, "172.30.0.2:9292"), "172.30.0.2:9292", "{name}");
        assert_eq!(network.told(name, "172.30.0.2:9192"), "172.30.0.2:9192", "{name}");
    }
}
