//! The numbers that both the custom resource's schema and the validated model hold to.

/// The longest name of a scale set: it becomes a label value.
pub const SCALE_SET_NAME_MAX: usize = 63;
/// Each instance is a scale set with a message session of its own; more than this is a slip of the keyboard.
pub const INSTANCES_MAX: u32 = 256;
/// How many runners a scale set may have that does not say.
pub const MAX_RUNNERS_DEFAULT: u32 = 4;
