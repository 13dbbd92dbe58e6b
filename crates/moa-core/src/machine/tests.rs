//! Scripts of whole runs.
