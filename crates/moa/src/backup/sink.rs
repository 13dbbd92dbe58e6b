//! Where the files of a backup go: a folder, or one archive.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Entry, MANIFEST, Manifest, STATE, STORE};
use super::{copy, make_folder, measure, sync_folder};

/// Where the files of a backup go.
pub struct Sink {
    kind: Kind,
    entries: Vec<Entry>,
}

enum Kind {
    Folder(PathBuf),
    /// The archive, and a file for what has to be complete before it can be added.
    Tar(Box<tar::Builder<BufWriter<File>>>, PathBuf),
}

impl Sink {
    /// A folder.
    pub fn folder(path: &Path) -> io::Result<Self> {
        make_folder(&path.join(STATE))?;
        Ok(Self { kind: Kind::Folder(path.to_owned()), entries: Vec::new() })
    }

    /// An archive; `staged` is a file for what has to be complete before it can be added.
    pub fn tar(path: &Path, staged: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        archive.mode(tar::HeaderMode::Deterministic);
        Ok(Self { kind: Kind::Tar(Box::new(archive), staged), entries: Vec::new() })
    }

    /// What has been added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the store's copy is to be written.
    pub fn store(&self) -> PathBuf {
        match &self.kind {
            Kind::Folder(root) => root.join(STORE),
            Kind::Tar(_, staged) => staged.clone(),
        }
    }

    /// Takes in the store's copy.
    pub fn add_store(&mut self) -> io::Result<()> {
        let (bytes, blake3) = measure(&self.store())?;
        self.append(STORE)?;
        self.entries.push(Entry { path: STORE.into(), bytes, blake3 });
        Ok(())
    }

    /// Takes in a file. One that is being written is taken as far as it has come.
    pub fn add(&mut self, from: &Path, name: &str) -> io::Result<()> {
        let to = match &self.kind {
            Kind::Folder(root) => root.join(name),
            Kind::Tar(_, staged) => staged.clone(),
        };
        let (bytes, blake3) = copy(from, &to)?;
        self.append(name)?;
        self.entries.push(Entry { path: name.into(), bytes, blake3 });
        Ok(())
    }

    /// Adds what is staged to the archive.
    fn append(&mut self, name: &str) -> io::Result<()> {
        let Kind::Tar(archive, staged) = &mut self.kind else { return Ok(()) };
        archive.append_path_with_name(&*staged, name)?;
        fs::remove_file(staged)
    }

    /// Writes the manifest, the last file, and puts everything on the disk.
    pub fn finish(self, manifest: &Manifest) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        match self.kind {
            Kind::Folder(root) => {
                let mut options = File::options();
                options.write(true).create_new(true).mode(0o600);
                let mut file = options.open(root.join(MANIFEST))?;
                file.write_all(&text)?;
                file.sync_all()?;
                for folder in folders(&root)? {
                    sync_folder(&folder)?;
                }
                Ok(())
            }
            Kind::Tar(mut archive, _) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o600);
                header.set_cksum();
                archive.append_data(&mut header, MANIFEST, text.as_slice())?;
                let file = archive.into_inner()?.into_inner().map_err(|e| e.into_error())?;
                file.sync_all()
            }
        }
    }
}

/// A folder and all folders beneath it.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        for entry in fs::read_dir(&all[next])? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                all.push(entry.path());
            }
        }
        next += 1;
    }
    Ok(all)
}
