//! The promises that the library makes, each held by tests from outside, through the public API.
//!
//! A file stands for one promise. What is expected is computed by models and checkers of the tests'
//! own (`support`), which share no code with the library.

mod p10_schedule;
mod p11_records;
mod p12_life;
mod p12_regime;
mod p1_backups_equal_one_commit;
mod p1_together;
mod p2_access_table;
mod p2_frozen_reads;
mod p2_hooks;
mod p2_own_waits;
mod p2_participants;
mod p2_queue;
mod p3_live;
mod p3_readers;
mod p4_never_stays_locked;
mod p5_crash_at_every_call;
mod p5_folder;
mod p5_fork;
mod p5_kill;
mod p5_model;
mod p5_names;
mod p5_replay;
mod p6_archives;
mod p6_attachments;
#[cfg(feature = "encryption")]
mod p6_layers;
mod p7_ancestry;
mod p7_compact;
mod p7_delta;
mod p7_histories;
mod p7_incremental;
mod p7_kept_log;
mod p7_log_archives;
mod p7_log_bounds;
mod p7_mirror;
mod p7_partial;
mod p7_points;
mod p7_replacement;
mod p7_restored;
mod p7_restores;
mod p7_rollback;
mod p7_vacant;
mod p8_bad_input;
mod p8_hints;
mod p8_log_damage;
mod p8_read_only;
mod p8_repair;
mod p8_space;
mod p9_settings;

mod scene;
mod support;
