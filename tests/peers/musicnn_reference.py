#!/usr/bin/env python3
"""The outputs of the package musicnn for a recording, for tests/it/embedding.rs: python musicnn_reference.py FILE MODEL

Prints JSON: the penultimate layer and the tags, averaged over windows of 187 frames. The graph is the package's own; the mel
spectrogram stays in single precision, where the package rounds it to half precision before the logarithm. With `rounded`, also
what the package returns as it is.
"""
import json
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import librosa
import numpy as np
import tensorflow as tf

import musicnn
from musicnn import configuration as config
from musicnn import models

FRAMES = 187


def image(path):
    audio, rate = librosa.load(path, sr=config.SR)
    mel = librosa.feature.melspectrogram(
        y=audio, sr=rate, hop_length=config.FFT_HOP, n_fft=config.FFT_SIZE, n_mels=config.N_MELS
    )
    return mel.T


def run(model, images):
    tf.compat.v1.disable_eager_execution()
    with tf.name_scope("model"):
        x = tf.compat.v1.placeholder(tf.float32, [None, FRAMES, config.N_MELS])
        training = tf.compat.v1.placeholder(tf.bool)
        outputs = models.define_model(x, training, model, 50)
    last = outputs[5] if "vgg" in model else outputs[-1]
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
        saver.restore(session, f"{os.path.dirname(musicnn.__file__)}/{model}/")
        fed = {x: images, training: False}
        tags, last = session.run([tf.nn.sigmoid(outputs[0]), last], feed_dict=fed)
    if "vgg" in model:
        # (window, time, bands, channel) as (channel, bands, time), the order of the converted weights.
        last = last.transpose(0, 3, 2, 1)
    return tags.mean(0).tolist(), last.reshape(len(images), -1).mean(0).tolist()


def main():
    path, model = sys.argv[1:3]
    mel = image(path)
    count = len(mel) // FRAMES
    windows = mel[: count * FRAMES].reshape(count, FRAMES, -1)
    tags, penultimate = run(model, np.log10(10000 * windows + 1))
    print(json.dumps({"scores": tags, "penultimate": penultimate}))


if __name__ == "__main__":
    main()
