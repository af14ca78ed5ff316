//! Three brokers on machines of their own, as far as one kernel can have them: each has its network namespace, and its data on a
//! file system of its own in a file. The power of one machine is cut, or of two; one is killed, stands still, is not heard by the
//! others, has no room left on its disk. Meanwhile clients write and read: nothing is lost, doubled or out of order.
//!
//! That takes root, iproute2, nsenter, mkfs.ext4 and loop devices. Where something is missing, nothing is run, and the test says so.
//! The test binary itself runs in the namespace of the clients, told by a variable what to do there.
//!
//! A power cut shuts the file system down (`EXT4_IOC_SHUTDOWN`), so that nothing more reaches the disk and the next mount finds what
//! was synced, takes the cable out and kills the process, in this order: nobody hears of its end.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::ioctl;

use crate::crew::Staff;
use crate::exactly_once::Epochs;
use crate::netns::{Namespaces, run};
use crate::nodes_killed::{NODES, Nodes, OPTIONS, Place, check};
use crate::rig::{Client, PATIENCE, batch, creation};

/// What is to be done in the namespace of the clients: the beginning of the namespaces' names, and the test.
const INSIDE: &str = "OTTLA_TEST_MACHINES";
const VOLUME_BYTES: u64 = 160 << 20;
/// What has to be acknowledged between a fault and the next.
const RECORDS: usize = 100;

/// What happens to machines. They count from 0.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9`.
    Kill(usize),
    /// It gets no CPU until others have gone on without it.
    Pause(usize),
    /// It hears the others, but they do not hear it.
    Mute(usize),
    /// No other machine is heard by it.
    Deafen(usize),
    /// Its power, or that of several at once.
    PowerCut(&'static [usize]),
    /// Its disk has no room left for a while.
    Fill(usize),
}

/// Three nodes, the clients, and what connects them.
const MACHINES: [&str; NODES + 2] = ["one", "two", "three", "clients", "switch"];
/// Where the clients are.
const CLIENTS: usize = NODES;

fn address(at: usize) -> String {
    format!("172.31.7.{}", at + 1)
}

struct Network(Namespaces);

impl Network {
    fn new(prefix: String) -> Result<Self, String> {
        let network = Namespaces::new(prefix, &MACHINES)?;
        network.bridge("switch")?;
        for (name, at) in MACHINES[..=CLIENTS].iter().zip(0..) {
            network.plug("switch", name, &format!("{}/24", address(at)))?;
        }
        Ok(Self(network))
    }

    /// The beginning of a command line that runs on a machine.
    fn on(&self, at: usize) -> [String; 2] {
        self.0.inside(MACHINES[at])
    }

    /// Whatever one machine sends to another goes to nobody, until it is let through again.
    fn hold(&self, from: usize, to: usize, is_held: bool) {
        let to = address(to);
        let neighbour = ["ip", "neigh", if is_held { "replace" } else { "delete" }, &to];
        let nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"];
        let line = [&neighbour[..], if is_held { &nobody } else { &[] }, &["dev", "eth0"]].concat();
        self.0.run(MACHINES[from], &line).unwrap();
    }

    fn plug(&self, at: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.0.run(MACHINES[at], &["ip", "link", "set", "eth0", state]).unwrap();
    }
}

/// A file system in a file, which is unmounted in the end.
struct Volume {
    image: PathBuf,
    mounted: PathBuf,
}

impl Volume {
    fn new(dir: &std::path::Path, name: &str, bytes: u64) -> Result<Self, String> {
        let volume = Self { image: dir.join(format!("{name}.image")), mounted: dir.join(name) };
        File::create(&volume.image).and_then(|file| file.set_len(bytes)).unwrap();
        std::fs::create_dir(&volume.mounted).unwrap();
        run(&["mkfs.ext4", "-q", "-F", volume.image.to_str().unwrap()])?;
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&self) -> Result<(), String> {
        let paths = [&self.image, &self.mounted].map(|path| path.to_str().unwrap());
        run(&["mount", "-o", "loop", paths[0], paths[1]])
    }

    fn unmount(&self) -> Result<(), String> {
        run(&["umount", self.mounted.to_str().unwrap()])
    }

    /// Nothing more reaches the disk, not even the journal.
    fn shut_down(&self) {
        const EXT4_IOC_SHUTDOWN: ioctl::Opcode = 0x8004_587d;
        const WITHOUT_LOG_FLUSH: u32 = 2;
        let file = File::open(&self.mounted).unwrap();
        // SAFETY: this is the number that ext4 gives it, and it reads an u32.
        #[expect(unsafe_code, reason = "no crate wraps this call")]
        unsafe {
            let shutdown = ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH);
            ioctl::ioctl(&file, shutdown).unwrap();
        }
    }

    /// What is found after a power cut. Whoever had files open has ended, but the kernel may still be at putting them away.
    async fn mount_again(&self) {
        let unmounted = async {
            while self.unmount().is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, unmounted).await.expect("it is unmounted");
        self.mount().unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.mounted.join("filler")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for piece in [1 << 20, 4 << 10] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // A broker of a test that has failed may still be there.
            drop(run(&["umount", "-l", self.mounted.to_str().unwrap()]));
        }
    }
}

/// Runs a test in the namespace of the clients. Gives why there cannot be one here.
fn inside(test: &str) -> Result<(), String> {
    let prefix = format!("ottla{}{}-", std::process::id(), test.len());
    let dir = tempfile::tempdir().unwrap();
    let tools = Volume::new(dir.path(), "trial", 8 << 20).map(drop);
    let network = tools.and_then(|()| Network::new(prefix.clone()))?;
    let [program, namespace] = network.on(CLIENTS);
    let mut command = Command::new(program);
    // Mounts are its own: another process that copies those of this one would keep a file system in use.
    command.args([&*namespace, "unshare", "--mount", "--propagation", "private"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "machines::what_runs_inside", "--nocapture"]);
    let status = command.env(INSIDE, format!("{prefix} {test}")).status().unwrap();
    assert!(status.success(), "{test}: {status}");
    Ok(())
}

/// Not a test of its own: what the others run in a namespace. Without their variable it does nothing.
#[tokio::test]
async fn what_runs_inside() {
    let Ok(what) = std::env::var(INSIDE) else { return };
    let (prefix, test) = what.split_once(' ').unwrap();
    // The namespaces are those of whoever started this.
    let network =
        std::mem::ManuallyDrop::new(Network(Namespaces::known(prefix.to_owned(), &MACHINES)));
    match test {
        "one" => {
            use Fault::{Deafen, Fill, Kill, Mute, Pause, PowerCut};
            let faults = [
                Kill(0),
                Mute(1),
                PowerCut(&[2]),
                Pause(0),
                Fill(1),
                Deafen(2),
                PowerCut(&[0]),
                Mute(2),
            ];
            suffer(&network, &faults, &[]).await;
        }
        "several" => {
            let faults = [&[0, 1][..], &[1, 2], &[0, 1, 2]].map(Fault::PowerCut);
            suffer(&network, &faults, &["ottla.durability=fsync"]).await;
        }
        other => panic!("{other}"),
    }
}

/// Has clients at work while that happens, one after the other.
async fn suffer(network: &Network, faults: &[Fault], options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = [0, 1, 2].map(|at| {
        Volume::new(dir.path(), &format!("disk-{at}"), VOLUME_BYTES).expect("it worked before")
    });
    let place = |(volume, at): (&Volume, usize)| Place {
        host: address(at),
        data: volume.mounted.join("data"),
        log: dir.path().join(format!("node-{at}.log")),
        starter: network.on(at).to_vec(),
    };
    let places = volumes.iter().zip(0..).map(place).collect();
    let nodes_dir = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::at(places, nodes_dir, &[&OPTIONS[..], options].concat()).await;
    let crew = nodes.crew().await;
    let mut request = creation("alone", NODES as i32, &[("min.insync.replicas", "1")]);
    request.topics[0].replication_factor = 1;
    let created = Client::to(&nodes.all[0].address).await.call(7, &request).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let work = async {
        for fault in faults {
            crew.write_on(RECORDS).await;
            match *fault {
                Fault::Kill(at) => {
                    nodes.all[at].signal("KILL");
                    nodes.all[at].ended().await;
                    crew.write_on(RECORDS).await;
                    nodes.all[at].start();
                    nodes.all[at].ready().await;
                }
                Fault::Pause(at) => {
                    nodes.all[at].signal("STOP");
                    crew.write_on(RECORDS).await;
                    nodes.all[at].signal("CONT");
                }
                Fault::Mute(at) | Fault::Deafen(at) => {
                    let is_mute = matches!(fault, Fault::Mute(_));
                    let others = (0..NODES).filter(|other| *other != at);
                    let ways: Vec<(usize, usize)> = others
                        .map(|other| if is_mute { (at, other) } else { (other, at) })
                        .collect();
                    ways.iter().for_each(|(from, to)| network.hold(*from, *to, true));
                    crew.write_on(RECORDS).await;
                    ways.iter().for_each(|(from, to)| network.hold(*from, *to, false));
                }
                Fault::PowerCut(these) => {
                    for at in these {
                        volumes[*at].shut_down();
                        network.plug(*at, false);
                        nodes.all[*at].signal("KILL");
                    }
                    for at in these {
                        nodes.all[*at].ended().await;
                    }
                    if these.len() < 2 {
                        crew.write_on(RECORDS).await;
                    }
                    for at in these {
                        volumes[*at].mount_again().await;
                        network.plug(*at, true);
                        nodes.all[*at].start();
                    }
                    for at in these {
                        nodes.all[*at].ready().await;
                    }
                }
                Fault::Fill(at) => {
                    volumes[at].fill();
                    refused(&nodes, at).await;
                    std::fs::remove_file(volumes[at].filler()).unwrap();
                }
            }
            crew.write_on(RECORDS).await;
            nodes.in_sync("t").await;
        }
    };
    let ((), history) = crew.beside(Staff::writing(2, &[Epochs::Raised; 2]), work).await;
    check(&history, faults.len());
    nodes.end().await;
}

/// Waits until a node whose disk is full has refused a record of a topic that it has alone.
async fn refused(nodes: &Nodes, at: usize) {
    let mut client = Client::to(&nodes.all[at].address).await;
    let value = "x".repeat(100_000);
    let refused = async {
        loop {
            for partition in 0..NODES as i32 {
                let answer = client.produce("alone", partition, batch(&[&value])).await;
                if answer.error_code == ottla::model::ErrorCode::KafkaStorageError {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("a record is refused");
}

/// Each fault can be borne without `ottla.durability`: there is always another machine that has what was acknowledged.
#[test]
fn machines_that_fail_one_at_a_time_lose_nothing() {
    if let Err(obstacle) = inside("one") {
        println!("not run: it takes root, network namespaces and loop devices ({obstacle})");
    }
}

/// With `ottla.durability=fsync` the power of all may go.
#[test]
fn machines_that_lose_power_together_lose_nothing() {
    if let Err(obstacle) = inside("several") {
        println!("not run: it takes root, network namespaces and loop devices ({obstacle})");
    }
}
