"""Train the network on made-up reviews and save it as crepe.params. Takes about ten seconds on one core."""

import random

import numpy as np

from mms.worker import mxnet_compat

mxnet_compat.install()

import mxnet as mx  # noqa: E402  # needs the line above on current Python and numpy
from crepe import CATEGORIES, Crepe, encode  # noqa: E402

THINGS = {
    "Books": "novel,story,chapters,author,plot,paperback,biography,reading,pages,poems",
    "Electronics": "battery,screen,laptop,charger,camera,headphones,phone,cable,keyboard,remote",
    "Food": "tea,chocolate,coffee,flavour,taste,cookies,sauce,snack,spices,delicious jam",
    "Music": "album,songs,guitar,band,singer,melody,concert recording,drums,lyrics,piano",
    "Shoes": "sneakers,heels,boots,sandals,soles,laces,running shoes,leather slippers,fit on my feet,size ten",
}
OPENINGS = "I love the,Not happy with the,Great,Do not buy this for the,Five stars for the,My son wanted the,Nice"
LINKS = "and the,but what about the,with a bit more of the,together with the,even better the,sadly the"
ENDS = "Would buy again.,Came too late.,Works for me!,A gift for my mother.,Not worth its price.,Perfect :),"


def review(category: str, rng: random.Random) -> str:
    """Make up the title and the text of a review."""
    first, second = rng.sample(THINGS[category].split(","), 2)
    title, opening = rng.choices(OPENINGS.split(","), k=2)
    link, end = rng.choice(LINKS.split(",")), rng.choice(ENDS.split(","))
    return f"{title} {first}|{opening} {first} {link} {second}. {end}"


def train(rng: random.Random) -> Crepe:
    """Train the network on 2000 reviews and print how many of 500 others it puts in the right category."""
    net = Crepe()
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(80):
        classes = [rng.randrange(len(CATEGORIES)) for _ in range(50)]
        x = mx.nd.array(encode(review(CATEGORIES[number], rng) for number in classes))
        with mx.autograd.record():
            loss = loss_of(net(x), mx.nd.array(classes))
        loss.backward()
        trainer.step(len(classes))
    classes = [rng.randrange(len(CATEGORIES)) for _ in range(500)]
    scores = net(mx.nd.array(encode(review(CATEGORIES[number], rng) for number in classes))).asnumpy()
    print(f"Puts {(scores.argmax(axis=1) == np.array(classes)).mean():.1%} of new reviews in the right category.")
    return net


def main() -> None:
    """Train the network and write its parameters into the current folder."""
    mx.random.seed(1)
    train(random.Random(1)).save_parameters("crepe.params")


if __name__ == "__main__":
    main()
