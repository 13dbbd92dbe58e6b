//! The memory of the process: its allocator, and the program's own pages.
//!
//! Decision 21 says why it is this allocator, and what it costs to let the kernel have its way.

/// The allocator of all that moa is built of. Tests count with one of their own.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has what the allocator reserved at the program's start backed by small pages.
///
/// Where transparent huge pages are always on, each thread would hold 2 MiB for its first few bytes.
/// This is said of the reservation alone: a setting of the process would hold for agents too, which
/// inherit it.
pub fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    linux::keep_pages_small();
}

/// Gives back the pages of the program that only the start of a node needed.
///
/// A start runs through nearly all of the program once, and what it touched would stay mapped for as
/// long as the node lives. What is called again is mapped again, from the kernel's cache of files.
pub fn give_back_start() {
    #[cfg(target_os = "linux")]
    linux::give_back_program();
}

/// Elsewhere nothing tells what is mapped, and pages stay as they are.
#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::c_void;
    use std::fs;

    use rustix::mm::{Advice, madvise};

    /// Bytes from which on a mapping of no file is a reservation of the allocator: it reserves a
    /// gibibyte, or 128 MiB where that is refused.
    const RESERVATION_MIN: usize = 64 << 20;

    /// A line of `/proc/self/maps`, which proc_pid_maps(5) describes:
    /// `start-end permissions offset device inode path`.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Mapping<'a> {
        start: usize,
        bytes: usize,
        permissions: &'a str,
        /// Hexadecimal: where in the file it begins.
        offset: &'a str,
        /// Empty for memory of no file.
        path: &'a str,
    }

    impl<'a> Mapping<'a> {
        pub(super) fn read(line: &'a str) -> Option<Mapping<'a>> {
            let (range, rest) = line.split_once(' ')?;
            let (permissions, rest) = rest.split_once(' ')?;
            let (offset, rest) = rest.split_once(' ')?;
            // Behind two fields without spaces, and spaces as many as fill a column.
            let path = rest.splitn(3, ' ').nth(2).unwrap_or_default().trim_start();
            let (start, end) = range.split_once('-')?;
            let start = usize::from_str_radix(start, 16).ok()?;
            let bytes = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
            Some(Mapping { start, bytes, permissions, offset, path })
        }

        /// Whether it is of this program as the file has it: its code, and what stands before that (the
        /// loader's tables, constants). Behind it stands what the loader has written addresses into.
        pub(super) fn is_as_in_file(&self, program: &str) -> bool {
            let is_first = self.offset.bytes().all(|digit| digit == b'0');
            self.path == program
                && (self.permissions == "r-xp" || (self.permissions == "r--p" && is_first))
        }

        pub(super) fn is_reservation(&self) -> bool {
            self.path.is_empty() && self.permissions.ends_with('p') && self.bytes >= RESERVATION_MIN
        }

        #[allow(unsafe_code, reason = "there is no safe call that advises the kernel")]
        fn advise(&self, advice: Advice) {
            let start = std::ptr::without_provenance_mut::<c_void>(self.start);
            // SAFETY: the kernel has just said that this is a mapping of the process, and both callers
            // give advice that changes no content. Huge pages are about how memory is backed. What
            // is as in the file is never written to, so each page of it that goes comes back from the
            // file as it was when it is next read or executed.
            if let Err(error) = unsafe { madvise(start, self.bytes, advice) } {
                tracing::debug!(%error, ?advice, "the kernel takes no advice about memory");
            }
        }
    }

    pub fn keep_pages_small() {
        for_each(|mapping| mapping.is_reservation(), Advice::LinuxNoHugepage);
    }

    pub fn give_back_program() {
        let program = fs::read_link("/proc/self/exe").ok();
        if let Some(program) = program.as_ref().and_then(|path| path.to_str()) {
            for_each(|mapping| mapping.is_as_in_file(program), Advice::LinuxDontNeed);
        }
    }

    fn for_each(which: impl Fn(&Mapping<'_>) -> bool, advice: Advice) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for mapping in maps.lines().filter_map(Mapping::read).filter(|one| which(one)) {
            mapping.advise(advice);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{Mapping, give_back_program};

    const AT: &str = "55d0a0000000-55d0a4000000";

    fn mapping(rest: &str) -> String {
        format!("{AT} {rest}")
    }

    #[test]
    fn only_what_the_loader_leaves_alone_is_given_back() {
        let meant = |permissions: &str, offset: &str, path: &str| {
            let line = mapping(&format!("{permissions} {offset} fe:00 1108             {path}"));
            Mapping::read(&line).expect("a line").is_as_in_file("/usr/bin/my moa")
        };
        let moa = "/usr/bin/my moa";
        assert!(meant("r-xp", "00a45000", moa));
        assert!(meant("r--p", "00000000", moa));
        // Tables of addresses that the loader has written to; they look like constants.
        assert!(!meant("r--p", "02571000", moa));
        for permissions in ["rw-p", "rwxp", "r-xs", "r--s"] {
            assert!(!meant(permissions, "00000000", moa), "{permissions}");
        }
        assert!(!meant("r-xp", "00a45000", "/usr/lib/libc.so.6"));
        assert!(!meant("r-xp", "00000000", ""));
    }

    #[test]
    fn only_what_the_allocator_reserves_is_kept_in_small_pages() {
        let meant = |line: &str| Mapping::read(line).expect("a line").is_reservation();
        assert!(meant(&mapping("rw-p 00000000 00:00 0")));
        assert!(meant("7f0000000000-7f0004000000 ---p 00000000 00:00 0"));
        assert!(!meant("7f0000000000-7f0003fff000 rw-p 00000000 00:00 0"));
        assert!(!meant(&mapping("rw-s 00000000 00:00 0")));
        assert!(!meant(&mapping("rw-p 00000000 00:00 0          [heap]")));
    }

    #[test]
    fn what_is_no_mapping_is_passed_over() {
        for line in ["", "-", "x-y r-xp", "20-10 r-xp 0 fe:00 1 /moa", "10-20"] {
            assert_eq!(Mapping::read(line), None, "{line}");
        }
    }

    #[test]
    fn the_program_goes_on_without_what_it_gave_back() {
        let program = std::fs::read_link("/proc/self/exe").expect("Linux tells");
        let program = program.to_str().expect("a path of letters");
        // KiB of the program's code that are mapped.
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux tells");
            let mut lines = maps.lines();
            let is_code = |line: &&str| line.contains(" r-xp ") && line.ends_with(program);
            lines.find(is_code).expect("it has code");
            let size = lines.find_map(|line| line.strip_prefix("Rss:")).expect("it says how much");
            let kib = size.trim().trim_end_matches(" kB").parse::<u64>();
            kib.expect("a number")
        };
        // Something that runs through much of it, as a start does.
        drop(<crate::cli::Cli as clap::CommandFactory>::command().render_long_help());
        let before = resident();
        give_back_program();
        assert!(resident() < before, "{before} KiB of code before");
        let code_from_elsewhere = serde_json::from_str::<serde_json::Value>("{\"a\": [1, 2.5]}");
        assert!(code_from_elsewhere.is_ok());
    }
}
