// Passes the samples of the microphone on, in blocks, from the audio thread to the page.

const BLOCK = 4096;

registerProcessor(
  "samples",
  class extends AudioWorkletProcessor {
    block = new Float32Array(BLOCK);
    filled = 0;

    process([[channel]]) {
      for (const sample of channel ?? []) {
        this.block[this.filled++] = sample;
        if (this.filled < BLOCK) continue;
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
      return true;
    }
  },
);
