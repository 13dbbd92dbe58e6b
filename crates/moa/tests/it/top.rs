//! `moa top` in a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::project::{Project, signal};
use crate::remote::Elsewhere;

const ASK: &str = "steps: [{id: ask, approve: {title: 'go on?'}}]\n";

/// A terminal with a program in it.
pub struct Pty {
    master: File,
    slave: OwnedFd,
    child: Child,
    shown: String,
    columns: u16,
    rows: u16,
}

impl Pty {
    /// Starts a program that draws on the whole screen, and waits until it has it.
    fn start(command: Command, columns: u16, rows: u16) -> Self {
        let mut pty = Self::open(command, columns, rows);
        pty.until("\x1b[?1049h");
        pty
    }

    /// Starts a program.
    pub fn open(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("it is there");
        Self {
            child: {
                size(&master, columns, rows);
                let end = || Stdio::from(slave.try_clone().expect("it can be shared"));
                command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
                command.spawn().expect("it can be started")
            },
            master: File::from(master),
            slave,
            shown: String::new(),
            columns,
            rows,
        }
    }

    /// Reads until a word is shown behind what was waited for before. Only cells that change are
    /// drawn, so where nothing comes all is asked for anew, by another size.
    pub fn until(&mut self, word: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(word) {
                return self.shown.drain(..at + word.len()).collect();
            }
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let patience = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
            if poll(&mut ready, Some(&patience)).expect("it can be waited for") == 0 {
                self.columns ^= 1;
                size(&self.slave, self.columns, self.rows);
                continue;
            }
            let mut piece = [0; 4096];
            let read = self.master.read(&mut piece).expect("it goes on");
            self.shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it reads");
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("a terminal").local_modes;
        !modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for its end; answers its exit code.
    fn ended(&mut self) -> i32 {
        self.until("\x1b[?1049l");
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        assert!(!self.is_raw(), "the terminal is as it was");
        code
    }
}

fn size(of: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(of, size).expect("a terminal");
}

fn waiting() -> Project {
    Project::with("ask", ASK)
}

#[test]
fn it_is_looked_at_and_left_and_the_terminal_is_as_it_was() {
    let project = waiting();
    let _node = project.up();
    project.call(&["run", "ask", "--detach"]).expect(0);
    let mut pty = Pty::start(project.command(&["top"]), 80, 24);
    pty.until("Waits");
    assert!(pty.is_raw());
    pty.until("(1)");
    // The run itself, and back.
    pty.press("\r");
    pty.until("doesn't");
    pty.press("\x1b");
    pty.until("Waits");
    (pty.columns, pty.rows) = (60, 12);
    size(&pty.slave, 60, 12);
    pty.press("?");
    pty.until("Keys");
    pty.press("q");
    assert_eq!(pty.ended(), 0);

    let mut pty = Pty::start(project.command(&["top"]), 80, 24);
    pty.until("(1)");
    signal(pty.child.id(), Signal::TERM);
    assert_eq!(pty.ended(), 130);
}

#[test]
fn a_run_elsewhere_is_cancelled_after_a_question() {
    let project = waiting();
    let node = project.up();
    project.call(&["run", "ask", "--detach"]).expect(0);
    let there = Elsewhere::new(&project, &node, "operator");
    let mut pty = Pty::start(there.command(&["top"]), 80, 24);
    pty.until("(1)");
    pty.press("c");
    pty.until("yes,");
    pty.press("n");
    pty.until("nothing");
    pty.press("c");
    pty.until("yes,");
    pty.press("y");
    pty.until("cancelled");
    pty.press("\x03");
    assert_eq!(pty.ended(), 0);
    let runs = project.call(&["runs", "list", "--json"]).expect(0).json();
    assert_eq!(runs[0]["status"], "cancelled", "{runs}");
}

#[test]
fn one_frame_is_printed_where_no_terminal_is() {
    let project = waiting();
    let before = project.call(&["top"]).expect(0);
    assert!(before.out.contains("no node runs"), "{}", before.out);
    let node = project.up();
    project.call(&["run", "ask", "--detach"]).expect(0);
    let there = Elsewhere::new(&project, &node, "viewer");
    let seen = |data: serde_json::Value| (data["waiting"].clone(), data["agents"].clone());
    let mine = project.call(&["top", "--json"]).expect(0).json();
    let theirs = there.call(&["top", "--json"]).expect(0).json();
    assert_eq!(mine["waiting"][0]["step"], "ask", "{mine}");
    assert_eq!(seen(theirs), seen(mine));
    let frame = there.call(&["top", "--once"]).expect(0).out;
    assert!(frame.contains("Waits for somebody (1)") && frame.contains("ask"), "{frame}");
    assert!(!frame.contains('\x1b'), "{frame:?}");
}
