//! Behaviour through the public doors only: sockets, processes, files. One claim per test.

mod arch;
mod cli;
mod gateway;
mod health;
mod host;
mod live;
mod ops;
mod process;
mod rig;
mod state;
mod swap;
mod watch;
