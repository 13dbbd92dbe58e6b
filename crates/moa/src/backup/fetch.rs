//! Fetches a backup from a node elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::make::Made;
use super::place::{Place, TAR, is_for_many, is_tar};
use super::restore::{check, open_at};
use super::{Holds, unwritable};
use crate::exit::{Exit, Failure, Result};
use crate::node::aside;
use crate::remote::{Remote, Sent};
use crate::text;

/// Has a node make a backup, and fetches it; it is on the disk, and checked, when this returns. `told` gets
/// the bytes that have come so far, and all of them as far as they are known.
///
/// # Errors
/// It can't be made, doesn't come whole, or is no good one. Then nothing is left of it; nor when this is
/// dropped in the middle.
pub async fn fetch(
    remote: &Remote,
    to: &Path,
    holds: Holds,
    told: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Made> {
    // Before the node works for it.
    if !is_for_many(to)? && !is_tar(to) {
        let text = format!("{} is no name of an archive", to.display());
        return Err(Failure::usage(text)
            .hint("a node elsewhere sends one file: name it so that it ends in .tar")
            .hint("or name a folder to put it into: one that is there, or ends with /"));
    }
    let mut sent = remote.backup(holds).await?;
    let name = sent.name.take().unwrap_or_else(|| {
        format!("backup-{}.{TAR}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
    });
    let place = Place::take(to, &name)?;
    pour(remote, &mut sent, &place.partial, told).await?;
    let no_good = |failure: Failure| {
        if failure.exit != Exit::Damaged {
            return failure.hint("nothing of it was kept");
        }
        let message = format!("{} sent no good backup: {}", remote.url(), failure.message);
        Failure { message, hints: vec!["nothing of it was kept".into()], ..failure }
    };
    let (archive, staged) = (place.partial.clone(), place.staged.clone());
    // Where whoever waits for this can be told to go.
    let manifest = aside(move || {
        let backup = open_at(&archive, staged)?;
        check(&backup)?;
        Ok(backup.manifest.clone())
    });
    let manifest = manifest.await.map_err(no_good)?;
    Ok(Made { path: place.fill()?, manifest })
}

/// Writes what comes to a file, and that to the disk.
async fn pour(
    remote: &Remote,
    sent: &mut Sent,
    to: &Path,
    told: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    let failed = |e: io::Error| unwritable(to, &e);
    let file = File::options().write(true).create_new(true).mode(0o600).open(to);
    let (mut file, mut bytes) = (file.map_err(failed)?, 0);
    while let Some(part) = sent.next().await? {
        file.write_all(part.as_ref()).map_err(failed)?;
        bytes += part.as_ref().len() as u64;
        told(bytes, sent.bytes);
    }
    if let Some(all) = sent.bytes.filter(|all| *all != bytes) {
        let (came, all) = (text::bytes(bytes), text::bytes(all));
        let text = format!("{} sent {came} of {all}", remote.url());
        return Err(Failure::new(Exit::Unavailable, text));
    }
    file.sync_all().map_err(failed)
}
