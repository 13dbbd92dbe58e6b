//! A backup that a node makes for somebody elsewhere: an archive without a name, which is gone when
//! nobody has it open any more, however that comes.
//!
//! While it is made it is in a folder of the state, which has a name. A node that is killed then leaves it
//! behind: the next start removes it, and so does the next backup.

use std::fs::File;
use std::io;
use std::path::Path;

use super::make::{Request, fill};
use super::sink::Sink;
use super::{Manifest, make_folder, remove, unwritable};
use crate::exit::Result;
use crate::project::Layout;

/// The folder, inside the state.
const FOLDER: &str = "backup.partial";

/// Makes a backup, checks it and opens it. One at a time: only the node that serves the project does this.
///
/// # Errors
/// It can't be made, or nobody waits for it any more. Then nothing of it is left.
pub fn make(request: &Request<'_>, layout: &Layout) -> Result<(File, Manifest)> {
    let folder = layout.state().join(FOLDER);
    let failed = |e: io::Error| unwritable(&folder, &e);
    sweep(&layout.state()).map_err(failed)?;
    let made = make_in(request, &folder);
    // It is read from the open file alone.
    sweep(&layout.state()).map_err(failed)?;
    made
}

fn make_in(request: &Request<'_>, folder: &Path) -> Result<(File, Manifest)> {
    let failed = |e: io::Error| unwritable(folder, &e);
    let (archive, staged) = (folder.join("archive"), folder.join("staged"));
    make_folder(folder).map_err(failed)?;
    let sink = Sink::tar(&archive, staged).map_err(failed)?;
    let manifest = fill(request, folder, sink, &mut |_, _| {})?;
    Ok((File::open(&archive).map_err(failed)?, manifest))
}

/// Removes what a node left behind that was killed while it made one.
pub fn sweep(state: &Path) -> io::Result<()> {
    remove(&state.join(FOLDER))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use super::*;
    use crate::backup::Holds;
    use crate::wire;

    #[test]
    fn it_has_no_name_and_is_given_up_when_nobody_waits() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout { root: dir.path().to_owned() };
        let state = layout.state();
        make_folder(&state.join("logs")).expect("made");
        std::fs::write(state.join("logs/a"), "a log").expect("written");
        wire::open_unsynced_store(&layout).expect("a store").store.close();
        let holds = Holds { logs: true, ..Holds::default() };
        let attempt = |wanted: &dyn Fn() -> bool| {
            // What a node left that was killed.
            make_folder(&state.join(FOLDER).join("staged")).expect("made");
            let made = make(&Request::new(&layout, holds, wanted).expect("a project"), &layout);
            assert!(!state.join(FOLDER).exists());
            made
        };
        let asked = Cell::new(0_u32);
        let (mut file, manifest) = attempt(&|| {
            asked.set(asked.get() + 1);
            true
        })
        .expect("it is made");
        assert_eq!(manifest.files.len(), 2, "{manifest:?}");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("it is open");
        let mut archive = tar::Archive::new(&bytes[..]);
        assert_eq!(archive.entries().expect("an archive").count(), 3);
        // Whenever they go.
        for times in 0..asked.get() {
            let left = Cell::new(times);
            let ended = attempt(&|| left.replace(left.get().saturating_sub(1)) > 0);
            let failure = ended.expect_err("nobody waits");
            assert_eq!(failure.message, "nobody waits for the backup any more", "{times}");
        }
        assert!(asked.get() > 2, "{}", asked.get());
    }
}
