//! Where the files of a project may be that agents are told about: in its folder, and nowhere else.

use std::path::{Component, Path, PathBuf};

/// `file` in the project's folder, unless it leads out of it.
pub(crate) fn beneath(project: &Path, file: &Path) -> Option<PathBuf> {
    let legal = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    file.components().all(legal).then(|| project.join(file))
}

/// A file that is there and in the project's folder, also when links are followed.
///
/// # Errors
/// Why it can't be used.
pub(crate) fn existing_beneath(project: &Path, file: &Path) -> Result<PathBuf, String> {
    let shown = file.display();
    let outside = || format!("{shown} is outside the project");
    let place = beneath(project, file).ok_or_else(outside)?;
    let real = |path: &Path| path.canonicalize().map_err(|e| format!("{shown} can't be read: {e}"));
    let (place, project) = (real(&place)?, real(project)?);
    if !place.starts_with(&project) {
        return Err(outside());
    }
    if !place.is_file() {
        return Err(format!("{shown} is no file"));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_beneath_the_project() {
        let project = Path::new("/project");
        let inside = Some(PathBuf::from("/project/a/b.jsonl"));
        assert_eq!(beneath(project, Path::new("a/b.jsonl")), inside);
        assert_eq!(beneath(project, Path::new("../x")), None);
        assert_eq!(beneath(project, Path::new("/etc/x")), None);
        assert_eq!(beneath(project, Path::new("a/../../x")), None);
    }

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let project = dir.path().join("project");
        std::fs::create_dir(&project).expect("mkdir");
        std::fs::write(dir.path().join("secret"), "x").expect("write");
        std::fs::write(project.join("own"), "x").expect("write");
        std::os::unix::fs::symlink("../secret", project.join("link")).expect("link");
        std::os::unix::fs::symlink("own", project.join("inner")).expect("link");
        let at = |file: &str| existing_beneath(&project, Path::new(file));
        assert!(at("own").is_ok() && at("inner").is_ok());
        for bad in ["link", "../secret", "none", "."] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
