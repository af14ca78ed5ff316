//! An error as one line: what it says, and what its causes say.

use std::error::Error;
use std::fmt;

/// Shows an error followed by its causes, each after a colon. An error alone does not say its cause.
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it")]
    struct Outer(#[from] std::io::Error);

    #[test]
    fn causes_follow() {
        let error = Outer::from(std::io::Error::other("the disk is gone"));
        assert_eq!(WithCauses(&error).to_string(), "cannot read it: the disk is gone");
    }
}
