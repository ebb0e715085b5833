//! Kernel arguments that are safe to put into a boot script.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Maximum length of configured kernel arguments, in bytes.
///
/// Linux on x86 cuts a command line after 2,047 bytes (`COMMAND_LINE_SIZE`). The rest is for the arguments that a boot
/// adds, which come last: the addresses of the agents' listeners and the MAC address that the node boots from.
pub const MAX_BYTES: usize = 1536;

/// What stands for the rack's arguments in a node's own.
const DEFAULT: &str = "%default%";

/// Arguments of a Linux kernel, as one line that is also safe within an iPXE script.
///
/// The kernel command of an iPXE script carries the arguments as they are. iPXE splits a line at white space, expands
/// `${…}`, and ends a command at the words `||`, `&&` and `;` and at a word that begins with `#`; a line continues after a
/// backslash at its end. A value of this type contains none of these, so it cannot become a command of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelArguments(String);

/// Reason that a text cannot be used as kernel arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelArgumentsError {
    /// It has a line break or another control character within.
    #[error("kernel arguments must be one line: character {position} is a control character; remove it")]
    Control {
        /// Position of the first one, counted from 1.
        position: usize,
    },
    /// It has a character that is not ASCII.
    #[error("kernel arguments must be ASCII: character {position} is not; remove it")]
    NotAscii {
        /// Position of the first one, counted from 1.
        position: usize,
    },
    /// It has a variable that iPXE would expand.
    #[error("kernel arguments must not contain \"${{\": iPXE would expand it as a variable")]
    Variable,
    /// It has a word at which iPXE ends a command.
    #[error("kernel arguments must not contain the word {word:?}: iPXE would end the kernel's command there")]
    Separator {
        /// The word.
        word: String,
    },
    /// It ends with a backslash.
    #[error("kernel arguments must not end with a backslash: iPXE would join the next line to them")]
    Continuation,
    /// A double quote is not closed.
    #[error("kernel arguments have a double quote that is not closed: close it or remove it")]
    OpenQuote,
    /// It is too long.
    #[error("kernel arguments are limited to {MAX_BYTES} bytes, but these have {bytes}; shorten them")]
    TooLong {
        /// Length, in bytes.
        bytes: usize,
    },
}

impl KernelArguments {
    /// Returns the arguments as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns these arguments with the rack's in place of each `%default%`.
    ///
    /// # Errors
    /// [`KernelArgumentsError::TooLong`] if they are too long together, and others where they only make sense apart.
    pub fn with_default(&self, rack: &Self) -> Result<Self, KernelArgumentsError> {
        self.0.replace(DEFAULT, rack.as_str()).parse()
    }
}

impl fmt::Display for KernelArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KernelArguments {
    type Err = KernelArgumentsError;

    /// White space around the arguments, such as the line end of a file, is dropped.
    fn from_str(text: &str) -> Result<Self, KernelArgumentsError> {
        let text = text.trim();
        for (index, character) in text.chars().enumerate() {
            if character.is_control() {
                return Err(KernelArgumentsError::Control { position: index + 1 });
            }
            if !character.is_ascii() {
                return Err(KernelArgumentsError::NotAscii { position: index + 1 });
            }
        }
        if text.contains("${") {
            return Err(KernelArgumentsError::Variable);
        }
        let ends_command = |word: &&str| matches!(*word, "||" | "&&" | ";") || word.starts_with('#');
        if let Some(word) = text.split(' ').find(ends_command) {
            return Err(KernelArgumentsError::Separator { word: word.to_owned() });
        }
        if text.ends_with('\\') {
            return Err(KernelArgumentsError::Continuation);
        }
        if text.matches('"').count() % 2 == 1 {
            return Err(KernelArgumentsError::OpenQuote);
        }
        if text.len() > MAX_BYTES {
            return Err(KernelArgumentsError::TooLong { bytes: text.len() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KernelArguments {
    type Error = KernelArgumentsError;

    fn try_from(text: String) -> Result<Self, KernelArgumentsError> {
        text.parse()
    }
}

impl From<KernelArguments> for String {
    fn from(arguments: KernelArguments) -> Self {
        arguments.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_usual_ramdisks_need_are_taken_as_they_are() {
        for text in [
            "",
            "console=ttyS0,115200n8 nofb nomodeset vga=normal",
            "ipa-insecure=1 systemd.journald.forward_to_console=yes",
            "sshkey=\"ssh-rsa AAAAB3Nza= root@host\" %default%",
            "ip=::::host:eth0:dhcp rd.break=pre-mount a;b a||b a&&b x#y cost=$5 {x} modprobe.blacklist=a,b",
            r"path=C:\boot x",
        ] {
            assert_eq!(text.parse::<KernelArguments>().unwrap().as_str(), text);
        }
        assert_eq!("console=ttyS0\r\n".parse::<KernelArguments>().unwrap().as_str(), "console=ttyS0");
    }

    #[test]
    fn a_text_that_ipxe_or_the_kernel_would_read_as_something_else_is_refused() {
        use KernelArgumentsError::{Continuation, Control, NotAscii, OpenQuote, Separator, TooLong, Variable};
        let separator = |word: &str| Separator { word: word.to_owned() };
        // Sources: iPXE src/image/script.c (lines, continuations), src/core/exec.c (words, comments) and
        // src/core/settings.c (variables); Linux lib/cmdline.c (quotes) and arch/x86/include/asm/setup.h (length).
        for (text, refused) in [
            ("quiet\nchain http://evil/", Control { position: 6 }),
            ("quiet\r\nchain http://evil/", Control { position: 6 }),
            ("quiet\rx", Control { position: 6 }),
            ("a\u{b}b", Control { position: 2 }),
            ("a\0b", Control { position: 2 }),
            ("a\tb", Control { position: 2 }),
            ("a\u{1b}[2Jb", Control { position: 2 }),
            ("a\u{85}b", Control { position: 2 }),
            ("a\u{2028}b", NotAscii { position: 2 }),
            ("naïve", NotAscii { position: 3 }),
            ("x=${net0/mac}", Variable),
            ("x || chain http://evil/", separator("||")),
            ("x && shell", separator("&&")),
            ("x ; shell", separator(";")),
            ("; shell", separator(";")),
            ("x # rest", separator("#")),
            ("x #rest", separator("#rest")),
            ("x \\", Continuation),
            ("x=\"a b", OpenQuote),
            (&"x".repeat(MAX_BYTES + 1), TooLong { bytes: MAX_BYTES + 1 }),
        ] {
            assert_eq!(text.parse::<KernelArguments>(), Err(refused), "{text:?}");
        }
        assert!(decode("a\nb").is_err());
    }

    /// Decodes a stored value without a format.
    fn decode(text: &str) -> Result<KernelArguments, serde::de::value::Error> {
        use serde::de::IntoDeserializer as _;
        KernelArguments::deserialize(text.into_deserializer())
    }

    #[test]
    fn the_racks_arguments_replace_each_default() {
        let parse = |text: &str| text.parse::<KernelArguments>().unwrap();
        let rack = parse("console=ttyS0 quiet");
        assert_eq!(parse("a %default% b").with_default(&rack).unwrap(), parse("a console=ttyS0 quiet b"));
        assert_eq!(parse("%default%").with_default(&parse("")).unwrap(), parse(""));
        assert_eq!(parse("a").with_default(&rack).unwrap(), parse("a"));
        let long = parse(&"x".repeat(MAX_BYTES));
        assert!(parse("%default% y").with_default(&long).is_err());
    }
}
