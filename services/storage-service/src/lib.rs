//! Images and boot files, pulled once and handed out by digest.
