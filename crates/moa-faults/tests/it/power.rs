//! Power cuts on a file system of its own: what was acknowledged is there afterwards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use moa_faults::history::Ack;
use serde_json::json;

use crate::chance::Chance;
use crate::mount::Mount;
use crate::node::Node;
use crate::project::Project;
use crate::skip;

/// Takes away everything that was not made durable, as a power cut does: ext4 stops at once and
/// doesn't write its log.
#[allow(unsafe_code, reason = "there is no safe call for this ioctl")]
fn cut_power(dir: &Path) {
    const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
    const NO_LOG_FLUSH: u32 = 2;
    let root = File::open(dir).expect("the mount point");
    // SAFETY: the request reads one u32, which the setter owns until the call returns.
    let done = unsafe {
        let shutdown = rustix::ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        rustix::ioctl::ioctl(&root, shutdown)
    };
    done.expect("ext4 can be shut down");
}

/// An ext4 in a file on a loop device.
struct Ext4 {
    image: PathBuf,
    mount: Option<Mount>,
    dir: PathBuf,
}

impl Ext4 {
    fn new(folder: &Path) -> Option<Self> {
        let (image, dir) = (folder.join("disk.img"), folder.join("disk"));
        File::create(&image).and_then(|f| f.set_len(256 << 20)).expect("the image");
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status();
        assert!(made.expect("mkfs.ext4").success());
        let mut disk = Self { image, mount: None, dir };
        disk.mount().then_some(disk)
    }

    fn mount(&mut self) -> bool {
        let image = self.image.to_str().expect("the path is text");
        self.mount = Mount::new(&self.dir, &["-o", "loop", image]);
        self.mount.is_some()
    }

    /// Makes everything durable that is there.
    fn sync(&self) {
        let root = File::open(&self.dir).expect("the mount point");
        rustix::fs::syncfs(&root).expect("it can be synced");
    }

    /// Cuts the power and gives it back.
    fn cut(&mut self, meanwhile: impl FnOnce()) {
        cut_power(&self.dir);
        meanwhile();
        let unmounted = Command::new("umount").arg(&self.dir).status().expect("umount");
        assert!(unmounted.success(), "somebody still writes to the disk");
        // What was mounted is gone; nothing is left to do for the guard.
        std::mem::forget(self.mount.take());
        assert!(self.mount(), "the disk can't be mounted again");
    }
}

fn loop_disk(test: &str, folder: &Path) -> Option<Ext4> {
    if !skip::needs_root(test) || !skip::needs(test, "mkfs.ext4") || !skip::needs(test, "mount") {
        return None;
    }
    let disk = Ext4::new(folder);
    if disk.is_none() {
        skip::skip(test, "no loop device can be had here");
    }
    disk
}

/// What a program that writes to a store had acknowledged when the power was cut, and how much of
/// that is there afterwards.
fn cut_while_writing(disk: &mut Ext4, mode: &str, name: &str) -> (u64, u64) {
    let writer = env!("CARGO_BIN_EXE_moa-faults-writer");
    let store = disk.dir.join(name);
    let mut command = Command::new(writer);
    command.arg(&store).arg(mode).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().expect("the writer");
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let mut acknowledged = 0;
    // Far fewer than after which SQLite syncs by itself, to empty its write-ahead log.
    while acknowledged < ACKNOWLEDGED {
        let line = lines.next().expect("it goes on").expect("a line");
        acknowledged = line.parse().expect("a number");
    }
    disk.cut(|| {
        // Without a disk nothing more can be written, so nothing more is acknowledged; but what
        // was acknowledged before may still be on its way here.
        acknowledged += lines.by_ref().map_while(Result::ok).count() as u64;
        let _ = process.kill();
        let _ = process.wait();
    });
    let listed = Command::new(writer).arg(&store).arg("list").output().expect("the writer");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    (acknowledged, text.lines().count() as u64)
}

#[test]
fn this_power_cut_would_notice_what_is_not_durable() {
    let test = "this_power_cut_would_notice_what_is_not_durable";
    let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
    let Some(mut disk) = loop_disk(test, folder.path()) else { return };
    let (acknowledged, there) = cut_while_writing(&mut disk, "normal", "normal.db");
    println!("{test}: without syncs {there} of {acknowledged} acknowledged runs are left");
    assert!(there < acknowledged, "a store that doesn't sync must lose something");
    for round in 0..3 {
        let (acknowledged, there) =
            cut_while_writing(&mut disk, "full", &format!("full{round}.db"));
        println!("{test}: with syncs {there} of {acknowledged} acknowledged runs are left");
        assert!(there >= acknowledged, "acknowledged and lost");
    }
}

const POWER_CUTS: usize = 10;
/// How many runs are acknowledged before the cut.
const ACKNOWLEDGED: u64 = 700;

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    let test = "power_cuts_lose_nothing_acknowledged";
    let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
    let Some(mut disk) = loop_disk(test, folder.path()) else { return };
    let project = Project::at(&disk.dir.join("project"));
    disk.sync();
    let mut chance = Chance::new(test);
    let mut acks = Vec::new();
    for round in 0..POWER_CUTS {
        let node = Node::start(&project);
        let mut client = node.try_connect().expect("it answers");
        let moment = Instant::now() + chance.time_below_ms(300);
        let mut i = 0;
        while Instant::now() < moment {
            let run = client.start("quiet", json!({}), &format!("{round}-{i}"));
            let run = run.expect("the node stays").expect("it is started");
            acks.push(Ack { run, idem: None, kind: None });
            i += 1;
        }
        disk.cut(|| node.kill9());
    }
    let node = Node::start(&project);
    project.wait_until_over(&node);
    node.stop();
    println!("{test}: {POWER_CUTS} power cuts, {} runs acknowledged, none lost", acks.len());
    let runs = project.check(acks);
    assert!(runs.iter().all(|r| r.state == "completed"));
}
