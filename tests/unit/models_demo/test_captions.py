"""Captions: true of their scenes, in a language of few words; and what of a prompt is in it."""

import random

from models_demo.captions import UNKNOWN, caption, followed, is_understood, sentence, vocabulary, words_of
from models_demo.world import CHOICES, random_combination


def test_captions_are_made_of_the_vocabulary_and_say_no_more_than_they_say_to_say():
    dice = random.Random(1)
    known = {*vocabulary(), UNKNOWN}
    for _ in range(500):
        scene = random_combination(dice)
        text, said = caption(scene, dice)
        assert set(words_of(text)) <= known
        assert all(getattr(scene, name) == value for name, value in said.items())
        assert set(said) <= set(CHOICES)
        if "colour" not in said and "background" not in said:
            assert scene.colour not in words_of(text)


def test_a_sentence_says_everything():
    dice = random.Random(2)
    for _ in range(50):
        scene = random_combination(dice)
        text = sentence(scene)
        assert is_understood(text)
        assert {scene.shape, scene.colour, scene.size, scene.background, scene.pattern} <= set(words_of(text))


def test_words_of_the_world_are_told_from_others():
    assert followed("A red paper lantern drifts down a mountain stream, slow camera") == ["red", "down", "slow"]
    assert followed("A cat and a dog in a cozy lab") == []
    assert not is_understood("a red lantern")
    assert not is_understood("")
    assert is_understood("A RED square; moves right!")
