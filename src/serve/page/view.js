// The part of a recording that its timeline shows.

/// The shortest part, in seconds.
const SHORTEST = 10;

export class View {
  constructor(seconds) {
    Object.assign(this, { seconds, start: 0, end: seconds });
  }

  get length() {
    return this.end - this.start;
  }

  get isWhole() {
    return this.length >= this.seconds;
  }

  get canZoom() {
    return this.seconds > 2 * SHORTEST;
  }

  /// Where a time is, from 0 (left) to 1; outside of that if it is not shown.
  share(time) {
    return (time - this.start) / this.length;
  }

  time(share) {
    return this.start + share * this.length;
  }

  contains(time) {
    return time >= this.start && time <= this.end;
  }

  /// Shows a part that is `factor` times as long, with `time` at the same place.
  zoom(factor, time) {
    const share = this.share(time);
    const length = Math.min(this.seconds, Math.max(Math.min(SHORTEST, this.seconds), factor * this.length));
    this.move(time - share * length, length);
  }

  /// Shows the part from `start` on, within the recording.
  move(start, length = this.length) {
    this.start = Math.max(0, Math.min(this.seconds - length, start));
    this.end = this.start + length;
  }
}
