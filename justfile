# Short names for the commands of the README. `just` lists them; `just seed=7 pipeline` sets a variable.
# Every line is one program with plain arguments, so that sh and PowerShell run the same text; no value may hold a space.
# Outputs go below runs/, which `just clean` removes. Data sets go below datasets/.

set windows-shell := ["pwsh.exe", "-NoLogo", "-NoProfile", "-Command"]

config := "config/synthetic_generation.json"
seed := "42"
# Seed of candidates and of steering; a teacher's id is added to it.
pool_seed := "123"
# Flags for every step: `just common="--device cpu --threads 2" pipeline`.
common := "--device auto"
datasets := "datasets"

# The 250 teachers are shared by pipeline and nine-k; full trains its own on the same shards.
shards := "runs/mnist250/shards"
nets := "runs/mnist250/trained_nets"
best_nets := "runs/mnist250/best_nets"
decoder := "runs/decoder_emnist"
digits_decoder := "runs/decoder_digits"
# The student of public digits and their own labels, which stands beside students.
control := "runs/public_control"
# Where the two ways of the comparison put theirs.
base := "runs"
vaes := base / "teacher_vae/teacher_vaes"
teachers := "250"
vae_epochs := "100"
# Where the steps put their results when they are called one by one.
out := "runs/pipeline"

step := "cargo run --quiet --release --package pate-cli --bin"

# List the recipes
default:
    @just --list --unsorted

# Find libtorch 2.13.0 on this machine, or fetch it once for this user
setup:
    cargo xtask setup

# Say what this machine has and lacks, and how to mend it
doctor:
    cargo xtask doctor

# Set up libtorch if need be, and build all binaries
build:
    cargo xtask build

# Run the whole pipeline on the data in the repository, into runs/demo
demo:
    cargo xtask demo

# Run all tests
test:
    cargo xtask test

# Run everything that a change must pass
ci:
    cargo xtask ci

# Compare with what the original Python pipeline gave for the same inputs
conformance:
    cargo xtask conformance

# Let Python's PyTorch check files and numbers in both directions
interop:
    cargo xtask interop

# Measure the programs against PyTorch, by turns on the same inputs; wants an idle machine
bench:
    cargo xtask bench

# Fetch full data sets: mnist, emnist, kmnist, fashion, all
data +sets:
    cargo xtask data {{sets}} --root {{datasets}}

# Fetch MNIST (12 MB)
data-mnist: (data "mnist")

# Fetch EMNIST (a download of 562 MB)
data-emnist: (data "emnist")

# Fetch KMNIST (21 MB)
data-kmnist: (data "kmnist")

# Fetch Fashion-MNIST (31 MB)
data-fashion: (data "fashion")

# Cut MNIST's training set into 250 private shards
prepare-shards:
    {{step}} prepare-shards -- --mnist-dir {{datasets}} --num-teachers {{teachers}} --out-dir {{shards}} --seed {{seed}} {{common}}

# Train a teacher on every shard; goes on where it was stopped
train-teachers:
    {{step}} train-teachers -- --data-dir {{datasets}} --shard-indices {{shards}}/shard_indices.json --num-models {{teachers}} --epochs 20 --lr 0.05 --momentum 0.9 --config {{config}} --output-dir {{nets}} --seed {{seed}} {{common}}

# Train the decoder on EMNIST
pretrain-decoder:
    {{step}} pretrain-decoder -- --data-root {{datasets}} --latent-dim 32 --epochs 50 --config {{config}} --out-dir {{decoder}} --seed {{seed}} {{common}}

# Train the decoder on the public digits inside the program
pretrain-decoder-digits:
    {{step}} pretrain-decoder -- --dataset digits --config config/demo.json --out-dir {{digits_decoder}} --seed {{seed}} {{common}}

# Train a VAE on one teacher's shard: `just train-teacher-vae 3`
train-teacher-vae id="0":
    {{step}} train-teacher-vae -- --teacher-id {{id}} --shard-path {{shards}}/teacher_{{id}}/shard.pt --epochs 100 --config {{config}} --out-dir {{out}}/teacher_vaes --seed {{seed}} {{common}}

# Train a VAE on every teacher's shard; goes on where it was stopped
batch-train-teacher-vaes:
    {{step}} batch-train-teacher-vaes -- --num-teachers {{teachers}} --shard-base {{shards}} --epochs {{vae_epochs}} --config {{config}} --out-dir {{vaes}} --seed {{seed}} {{common}}

# Make one pool of 20,000 candidates for all teachers
generate-candidates:
    {{step}} generate-candidates -- --decoder-path {{decoder}}/decoder.pth --pool-size 20000 --out {{out}}/candidates/candidates_run1.pt --save-grid --config {{config}} --seed {{pool_seed}} {{common}}

# Label and filter the pool of generate-candidates with one teacher: `just label-filter 3`
label-filter id="0":
    {{step}} label-filter -- --candidates {{out}}/candidates/candidates_run1.pt --teacher-model {{nets}}/{{id}}/model.pth --teacher-shard-path {{shards}}/teacher_{{id}}/shard.pt --shard-metadata {{shards}}/teacher_{{id}}/metadata.json --decoder-path {{decoder}}/decoder.pth --config {{config}} --out-dir {{out}}/teachers/teacher_{{id}} --seed {{pool_seed}} {{common}}

# Make a pool for every teacher, label and filter it; goes on where it was stopped (pools are not kept: 16 GB)
batch-label-filter:
    {{step}} batch-label-filter -- --generate-candidates-per-teacher --discard-candidates --decoder-path {{decoder}}/decoder.pth --teachers-dir {{nets}} --teacher-shard-base {{shards}} --shard-metadata-base {{shards}} --num-teachers 250 --pool-size 20000 --config {{config}} --output-dir {{out}}/teachers --seed {{pool_seed}} {{common}}

# Measure one teacher's samples beside its shard: `just evaluate-synthetic 3`
evaluate-synthetic id="0":
    {{step}} evaluate-synthetic -- --samples {{out}}/teachers/teacher_{{id}}/synthetic_samples.pt --shard {{shards}}/teacher_{{id}}/shard.pt --config {{config}} --out {{out}}/teachers/teacher_{{id}}/evaluation_report.json {{common}}

# Put a share of all teachers' samples into one data set
combine percentage="0.1":
    {{step}} combine -- --teachers-dir {{out}}/teachers --percentage {{percentage}} --output {{out}}/combined --seed {{seed}} {{common}}

# Label the combined samples anew by the vote of all teachers, 50 of them on each
vote-label:
    {{step}} vote-label -- --samples {{out}}/combined/combined_synthetic_samples.pt --labels {{out}}/combined/combined_synthetic_labels.csv --teachers-dir {{nets}} --panel 50 --config {{config}} --output {{out}}/combined --seed {{seed}} {{common}}

# Train a student on the combined samples
train-student:
    {{step}} train-student -- --samples {{out}}/combined/combined_synthetic_samples.pt --labels {{out}}/combined/combined_synthetic_labels.csv --epochs 20 --batch-size 64 --learning-rate 0.01 --config {{config}} --output-dir {{out}}/student --seed {{seed}} {{common}}

# Test the student on MNIST's 10,000 test images
evaluate-student:
    {{step}} evaluate-student -- --model {{out}}/student/student_model_best.pth --mnist-dir {{datasets}} --config {{config}} --output {{out}}/student/evaluation_report.json {{common}}

# What a budget of DP-SGD buys: the noise for an epsilon, after so many steps at a sampling rate.
privacy-budget epsilon="1" q="0.01" steps="10000" delta="0.00001":
    cargo run --quiet --release --package tools --bin privacy-budget -- calibrate --epsilon {{epsilon}} --delta {{delta}} --q {{q}} --steps {{steps}}

# Say what the combined samples are, and whether they are still what their report says
inspect path="runs/pipeline/combined":
    cargo run --quiet --release --package tools --bin inspect -- {{path}}

# Write shell completions of all programs into completions/
completions:
    cargo xtask completions

# The whole workflow on full MNIST and EMNIST: 250 teachers, 20,000 candidates each (needs data-mnist, data-emnist)
pipeline: build prepare-shards train-teachers pretrain-decoder batch-label-filter evaluate-synthetic combine train-student evaluate-student

# 36 samples of each of 250 teachers out of 1,000 candidates: 9,000 in all, and a student (needs data-mnist, data-emnist)
nine-k: build prepare-shards train-teachers pretrain-decoder public-control
    {{step}} batch-label-filter -- --generate-candidates-per-teacher --candidates-dir runs/nine_k/candidates --decoder-path {{decoder}}/decoder.pth --teachers-dir {{nets}} --teacher-shard-base {{shards}} --num-teachers 250 --pool-size 1000 --quota False --target-samples 36 --config config/nine_k.json --output-dir runs/nine_k/teachers --seed {{pool_seed}} {{common}}
    {{step}} combine -- --teachers-dir runs/nine_k/teachers --output runs/nine_k/combined --seed {{seed}} {{common}}
    {{step}} train-student -- --samples runs/nine_k/combined/combined_synthetic_samples.pt --labels runs/nine_k/combined/combined_synthetic_labels.csv --config config/nine_k.json --output-dir runs/nine_k/student --seed {{seed}} {{common}}
    {{step}} evaluate-student -- --model runs/nine_k/student/student_model_best.pth --public-control-model {{control}}/student_model_final.pth --mnist-dir {{datasets}} --config config/nine_k.json --output runs/nine_k/student/evaluation_report.json {{common}}

# Train the control: the student that no private data reaches
public-control:
    {{step}} train-student -- --public-control --dataset digits --config config/public_control.json --output-dir {{control}} --seed {{seed}} {{common}}

# One VAE per teacher in place of the decoder, else as nine-k: `just vae_epochs=50 teacher-vae-pipeline` (needs data-mnist)
teacher-vae-pipeline: build prepare-shards train-teachers public-control batch-train-teacher-vaes
    {{step}} batch-label-filter -- --generate-candidates-per-teacher --discard-candidates --decoder-path "{{vaes}}/teacher_{id}/decoder.pth" --teachers-dir {{nets}} --teacher-shard-base {{shards}} --num-teachers {{teachers}} --pool-size 1000 --quota False --target-samples 36 --config config/nine_k.json --output-dir {{base}}/teacher_vae/teachers --seed {{pool_seed}} {{common}}
    {{step}} combine -- --teachers-dir {{base}}/teacher_vae/teachers --output {{base}}/teacher_vae/combined --seed {{seed}} {{common}}
    {{step}} train-student -- --samples {{base}}/teacher_vae/combined/combined_synthetic_samples.pt --labels {{base}}/teacher_vae/combined/combined_synthetic_labels.csv --config config/nine_k.json --output-dir {{base}}/teacher_vae/student --seed {{seed}} {{common}}
    {{step}} evaluate-student -- --model {{base}}/teacher_vae/student/student_model_best.pth --public-control-model {{control}}/student_model_final.pth --mnist-dir {{datasets}} --config config/nine_k.json --output {{base}}/teacher_vae/student/evaluation_report.json {{common}}

# A public decoder of the embedded digits in place of EMNIST's, else as nine-k, with the control of public data (needs data-mnist)
nine-k-digits: build prepare-shards train-teachers pretrain-decoder-digits public-control
    {{step}} batch-label-filter -- --generate-candidates-per-teacher --discard-candidates --decoder-path {{digits_decoder}}/decoder.pth --teachers-dir {{nets}} --teacher-shard-base {{shards}} --num-teachers {{teachers}} --pool-size 1000 --quota False --target-samples 36 --config config/nine_k.json --output-dir {{base}}/nine_k_digits/teachers --seed {{pool_seed}} {{common}}
    {{step}} combine -- --teachers-dir {{base}}/nine_k_digits/teachers --output {{base}}/nine_k_digits/combined --seed {{seed}} {{common}}
    {{step}} train-student -- --samples {{base}}/nine_k_digits/combined/combined_synthetic_samples.pt --labels {{base}}/nine_k_digits/combined/combined_synthetic_labels.csv --config config/nine_k.json --output-dir {{base}}/nine_k_digits/student --seed {{seed}} {{common}}
    {{step}} evaluate-student -- --model {{base}}/nine_k_digits/student/student_model_best.pth --public-control-model {{control}}/student_model_final.pth --mnist-dir {{datasets}} --config config/nine_k.json --output {{base}}/nine_k_digits/student/evaluation_report.json {{common}}

# A classifier of MNIST with a formal guarantee: epsilon 1 at delta 1e-5, on scattering features whitened by public digits (needs data-mnist)
dp-classifier epsilon="1" s="42":
    {{step}} train-dp-classifier -- --data-dir {{datasets}} --network scatter-linear --public digits --start public --epsilon {{epsilon}} --output-dir runs/dp/mnist_{{epsilon}}_{{s}} --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/dp/mnist_{{epsilon}}_{{s}}/model.pth --public-control-model runs/dp/mnist_{{epsilon}}_{{s}}/public_control.pth --mnist-dir {{datasets}} --config {{config}} --output runs/dp/mnist_{{epsilon}}_{{s}}/evaluation_report.json {{common}}

# DP-ImgSyn on MNIST from Fashion-MNIST: `just imgsyn-mnist 10 1` for epsilon 10, seed 1 (needs data-mnist, data-fashion)
imgsyn-mnist epsilon="1" s="42":
    {{step}} train-dp-teacher -- --data-dir {{datasets}} --model scatter-linear --public fashion-mnist --public-root {{datasets}} --learning-rate 12 --lr-schedule cosine --epsilon {{epsilon}} --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/teacher --config {{config}} --seed {{s}} {{common}}
    {{step}} synthesize-images -- --teacher runs/imgsyn/mnist_{{epsilon}}_{{s}}/teacher/model.pth --dataset fashion-mnist --data-root {{datasets}} --variants "warped,edges,mixed" --variant-strength 1.5 --num-samples 60000 --k 0 --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/synthesis --config {{config}} --seed {{s}} {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/mnist_{{epsilon}}_{{s}}/synthesis --k 0 --network scatter-linear --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/student --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/mnist_{{epsilon}}_{{s}}/student/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/mnist_{{epsilon}}_{{s}}/student/evaluation_report.json {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/mnist_{{epsilon}}_{{s}}/synthesis --k 0 --network ucstub --epochs 2 --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/student_ucstub --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/mnist_{{epsilon}}_{{s}}/student_ucstub/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/mnist_{{epsilon}}_{{s}}/student_ucstub/evaluation_report.json {{common}}

# DP-ImgSyn on MNIST from the embedded digits (needs data-mnist)
imgsyn-digits epsilon="1" s="42":
    {{step}} train-dp-teacher -- --data-dir {{datasets}} --model scatter-linear --public digits --start public --epsilon {{epsilon}} --output-dir runs/imgsyn/digits_{{epsilon}}_{{s}}/teacher --config {{config}} --seed {{s}} {{common}}
    {{step}} synthesize-images -- --teacher runs/imgsyn/digits_{{epsilon}}_{{s}}/teacher/model.pth --dataset digits --variants warped --variant-strength 1.5 --num-samples 60000 --k 0 --output-dir runs/imgsyn/digits_{{epsilon}}_{{s}}/synthesis --config {{config}} --seed {{s}} {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/digits_{{epsilon}}_{{s}}/synthesis --k 0 --network scatter-linear --output-dir runs/imgsyn/digits_{{epsilon}}_{{s}}/student --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/digits_{{epsilon}}_{{s}}/student/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/digits_{{epsilon}}_{{s}}/student/evaluation_report.json {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/digits_{{epsilon}}_{{s}}/synthesis --k 0 --network ucstub --epochs 2 --output-dir runs/imgsyn/digits_{{epsilon}}_{{s}}/student_ucstub --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/digits_{{epsilon}}_{{s}}/student_ucstub/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/digits_{{epsilon}}_{{s}}/student_ucstub/evaluation_report.json {{common}}

# DP-ImgSyn on Fashion-MNIST from MNIST (needs data-mnist, data-fashion)
imgsyn-fashion epsilon="1" s="42":
    {{step}} train-dp-teacher -- --data-dir {{datasets}} --model scatter-linear --dataset fashion-mnist --public mnist --public-root {{datasets}} --mnist-is-public --learning-rate 12 --lr-schedule cosine --epsilon {{epsilon}} --output-dir runs/imgsyn/fashion_{{epsilon}}_{{s}}/teacher --config {{config}} --seed {{s}} {{common}}
    {{step}} synthesize-images -- --teacher runs/imgsyn/fashion_{{epsilon}}_{{s}}/teacher/model.pth --dataset mnist --data-root {{datasets}} --mnist-is-public --variants "textured,textured,warped,mixed" --variant-strength 1.5 --num-samples 60000 --k 0 --output-dir runs/imgsyn/fashion_{{epsilon}}_{{s}}/synthesis --config {{config}} --seed {{s}} {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/fashion_{{epsilon}}_{{s}}/synthesis --k 0 --network scatter-linear --output-dir runs/imgsyn/fashion_{{epsilon}}_{{s}}/student --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/fashion_{{epsilon}}_{{s}}/student/student_model_final.pth --mnist-dir {{datasets}} --dataset fashion-mnist --config {{config}} --output runs/imgsyn/fashion_{{epsilon}}_{{s}}/student/evaluation_report.json {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/fashion_{{epsilon}}_{{s}}/synthesis --k 0 --network ucstub --epochs 2 --output-dir runs/imgsyn/fashion_{{epsilon}}_{{s}}/student_ucstub --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/fashion_{{epsilon}}_{{s}}/student_ucstub/student_model_final.pth --mnist-dir {{datasets}} --dataset fashion-mnist --config {{config}} --output runs/imgsyn/fashion_{{epsilon}}_{{s}}/student_ucstub/evaluation_report.json {{common}}

# What k steps on pixels add, at 5,000 plain images each: `just imgsyn-steps 1 42 10` (after imgsyn-mnist)
imgsyn-steps epsilon="1" s="42" k="10":
    {{step}} capture-dp-stats -- --model runs/imgsyn/mnist_{{epsilon}}_{{s}}/teacher/model.pth --data-dir {{datasets}} --config {{config}} {{common}}
    {{step}} synthesize-images -- --teacher runs/imgsyn/mnist_{{epsilon}}_{{s}}/teacher/model.pth --statistics runs/imgsyn/mnist_{{epsilon}}_{{s}}/teacher/dp_statistics.pt --dataset fashion-mnist --data-root {{datasets}} --k {{k}} --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps --config {{config}} --seed {{s}} {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps --k 0 --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k0 --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k0/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k0/evaluation_report.json {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps --k {{k}} --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/student_k/evaluation_report.json {{common}}

# DP-ImgSyn on MNIST from the embedded digits, 5,000 images and 10 steps on their pixels, in minutes (needs data-mnist)
imgsyn-demo epsilon="1" s="42" k="10":
    {{step}} train-dp-teacher -- --data-dir {{datasets}} --model scatter-linear --public digits --start public --epsilon {{epsilon}} --output-dir runs/imgsyn/demo_{{epsilon}}_{{s}}/teacher --config {{config}} --seed {{s}} {{common}}
    {{step}} capture-dp-stats -- --model runs/imgsyn/demo_{{epsilon}}_{{s}}/teacher/model.pth --data-dir {{datasets}} --config {{config}} {{common}}
    {{step}} synthesize-images -- --teacher runs/imgsyn/demo_{{epsilon}}_{{s}}/teacher/model.pth --statistics runs/imgsyn/demo_{{epsilon}}_{{s}}/teacher/dp_statistics.pt --dataset digits --variants warped --k {{k}} --output-dir runs/imgsyn/demo_{{epsilon}}_{{s}}/synthesis --config {{config}} --seed {{s}} {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/demo_{{epsilon}}_{{s}}/synthesis --k 0 --output-dir runs/imgsyn/demo_{{epsilon}}_{{s}}/student_k0 --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/demo_{{epsilon}}_{{s}}/student_k0/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/demo_{{epsilon}}_{{s}}/student_k0/evaluation_report.json {{common}}
    {{step}} distill-student -- --synthesis runs/imgsyn/demo_{{epsilon}}_{{s}}/synthesis --k {{k}} --output-dir runs/imgsyn/demo_{{epsilon}}_{{s}}/student --config {{config}} --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/imgsyn/demo_{{epsilon}}_{{s}}/student/student_model_final.pth --mnist-dir {{datasets}} --config {{config}} --output runs/imgsyn/demo_{{epsilon}}_{{s}}/student/evaluation_report.json {{common}}

# How near DP-ImgSyn's images are to private ones and what classifiers learn of them: an evaluation without guarantee (after imgsyn-steps)
imgsyn-nearest epsilon="1" s="42" k="10":
    {{step}} score-release -- --release runs/imgsyn/mnist_{{epsilon}}_{{s}}/steps/k{{k}} --test-dir {{datasets}} --private-dir {{datasets}} --classifiers mlp --seeds 1 --output-dir runs/imgsyn/mnist_{{epsilon}}_{{s}}/score_k{{k}} --config {{config}} --seed {{s}} {{common}}

# DPMI's public half, of the embedded digits, and the private latents of MNIST in it (needs data-mnist)
dpmi-latents s="42":
    {{step}} train-autoencoder -- --dataset digits --augmentation-strength 1.5 --output-dir runs/dpmi/digits_{{s}}/extractor --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --data-dir {{datasets}} --out runs/dpmi/digits_{{s}}/private/private_latents.pt --seed {{s}} {{common}}

# MNIST by one Gaussian release of its latents' moments: `just dpmi-gaussian 10 1` (after dpmi-latents)
dpmi-gaussian epsilon="1" s="42":
    {{step}} train-dp-latent -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --latents runs/dpmi/digits_{{s}}/private/private_latents.pt --epsilon {{epsilon}} --output-dir runs/dpmi/digits_{{s}}/gaussian_{{epsilon}} --seed {{s}} {{common}}
    {{step}} sample-generator -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --model runs/dpmi/digits_{{s}}/gaussian_{{epsilon}}/latent_model.pt --output-dir runs/dpmi/digits_{{s}}/gaussian_{{epsilon}}/samples --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/dpmi/digits_{{s}}/gaussian_{{epsilon}}/samples --test-dir {{datasets}} --classifiers "scatter-linear,mlp,small-cnn" --seeds 1 --output-dir runs/dpmi/digits_{{s}}/gaussian_{{epsilon}}/score --config {{config}} --seed {{s}} {{common}}

# The same images with labels of a private labeller, both inside one budget: `just dpmi-labelled 10 1 1.06`; the last number is the noise of the release (after dpmi-latents)
dpmi-labelled epsilon="1" s="42" noise="7.5":
    {{step}} train-dp-teacher -- --data-dir {{datasets}} --model scatter-linear --public digits --start public --epsilon {{epsilon}} --statistics-noise {{noise}} --output-dir runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/teacher --config {{config}} --seed {{s}} {{common}}
    {{step}} train-dp-latent -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --latents runs/dpmi/digits_{{s}}/private/private_latents.pt --ledger runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/teacher/privacy_ledger.jsonl --output-dir runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/model --seed {{s}} {{common}}
    {{step}} sample-generator -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --model runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/model/latent_model.pt --output-dir runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/samples --seed {{s}} {{common}}
    {{step}} relabel -- --samples runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/samples/synthetic_samples.pt --labels runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/samples/labels.csv --teacher runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/teacher/model.pth --output-dir runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/relabelled --config {{config}} --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/relabelled --soft-labels runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/relabelled/soft_labels.pt --temperature 10 --test-dir {{datasets}} --classifiers "scatter-linear,mlp,small-cnn" --seeds 1 --output-dir runs/dpmi/digits_{{s}}/labelled_{{epsilon}}/score --config {{config}} --seed {{s}} {{common}}

# A latent model by DP-SGD, model by class: `just dpmi-trained vae conditional 10 1` (after dpmi-latents)
dpmi-trained model="vae" classes="conditional" epsilon="1" s="42":
    {{step}} train-dp-latent -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --latents runs/dpmi/digits_{{s}}/private/private_latents.pt --model {{model}} --classes {{classes}} --epsilon {{epsilon}} --output-dir runs/dpmi/digits_{{s}}/{{model}}_{{classes}}_{{epsilon}} --seed {{s}} {{common}}
    {{step}} sample-generator -- --extractor runs/dpmi/digits_{{s}}/extractor/extractor.pt --model runs/dpmi/digits_{{s}}/{{model}}_{{classes}}_{{epsilon}}/latent_model.pt --output-dir runs/dpmi/digits_{{s}}/{{model}}_{{classes}}_{{epsilon}}/samples --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/dpmi/digits_{{s}}/{{model}}_{{classes}}_{{epsilon}}/samples --test-dir {{datasets}} --classifiers "scatter-linear,mlp,small-cnn" --seeds 1 --output-dir runs/dpmi/digits_{{s}}/{{model}}_{{classes}}_{{epsilon}}/score --config {{config}} --seed {{s}} {{common}}

# DPMI with a public GAN in place of an autoencoder: latents are searched for (needs data-mnist)
dpmi-gan epsilon="1" s="42":
    {{step}} train-gan -- --dataset digits --output-dir runs/dpmi/gan_{{s}}/extractor --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/gan_{{s}}/extractor/extractor.pt --data-dir {{datasets}} --method adam --project --out runs/dpmi/gan_{{s}}/private/private_latents.pt --seed {{s}} {{common}}
    {{step}} train-dp-latent -- --extractor runs/dpmi/gan_{{s}}/extractor/extractor.pt --latents runs/dpmi/gan_{{s}}/private/private_latents.pt --epsilon {{epsilon}} --output-dir runs/dpmi/gan_{{s}}/gaussian_{{epsilon}} --seed {{s}} {{common}}
    {{step}} sample-generator -- --extractor runs/dpmi/gan_{{s}}/extractor/extractor.pt --model runs/dpmi/gan_{{s}}/gaussian_{{epsilon}}/latent_model.pt --output-dir runs/dpmi/gan_{{s}}/gaussian_{{epsilon}}/samples --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/dpmi/gan_{{s}}/gaussian_{{epsilon}}/samples --test-dir {{datasets}} --classifiers "scatter-linear,mlp,small-cnn" --seeds 1 --output-dir runs/dpmi/gan_{{s}}/gaussian_{{epsilon}}/score --config {{config}} --seed {{s}} {{common}}

# The seed's split: odd digits of MNIST are public, even ones private. Three extractors, and the private latents in each (needs data-mnist)
dpmi-split s="42":
    {{step}} train-autoencoder -- --dataset mnist --data-root {{datasets}} --mnist-is-public --only-classes "1,3,5,7,9" --architecture mini --latent-dim 100 --epochs 30 --batch-size 256 --output-dir runs/dpmi/even_{{s}}/ae/extractor --seed {{s}} {{common}}
    {{step}} train-autoencoder -- --dataset mnist --data-root {{datasets}} --mnist-is-public --only-classes "1,3,5,7,9" --architecture mini --latent-dim 100 --epochs 30 --batch-size 256 --variational --output-dir runs/dpmi/even_{{s}}/vae/extractor --seed {{s}} {{common}}
    {{step}} train-gan -- --dataset mnist --data-root {{datasets}} --mnist-is-public --only-classes "1,3,5,7,9" --latent-dim 100 --output-dir runs/dpmi/even_{{s}}/gan/extractor --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/even_{{s}}/ae/extractor/extractor.pt --data-dir {{datasets}} --only-classes "0,2,4,6,8" --out runs/dpmi/even_{{s}}/ae/private/encoder.pt --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/even_{{s}}/ae/extractor/extractor.pt --data-dir {{datasets}} --only-classes "0,2,4,6,8" --method adam --out runs/dpmi/even_{{s}}/ae/private/search.pt --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/even_{{s}}/vae/extractor/extractor.pt --data-dir {{datasets}} --only-classes "0,2,4,6,8" --out runs/dpmi/even_{{s}}/vae/private/encoder.pt --seed {{s}} {{common}}
    {{step}} extract-latents -- --extractor runs/dpmi/even_{{s}}/gan/extractor/extractor.pt --data-dir {{datasets}} --only-classes "0,2,4,6,8" --method adam --project --out runs/dpmi/even_{{s}}/gan/private/search.pt --seed {{s}} {{common}}

# One cell of the seed's comparison: `just dpmi-cell ae encoder vae "--activation tanh --clipping-norm 0.1 --epsilon 10" tanh_10` (after dpmi-split)
dpmi-cell extractor latents model flags name s="42":
    {{step}} train-dp-latent -- --extractor runs/dpmi/even_{{s}}/{{extractor}}/extractor/extractor.pt --latents runs/dpmi/even_{{s}}/{{extractor}}/private/{{latents}}.pt --model {{model}} {{flags}} --output-dir runs/dpmi/even_{{s}}/{{extractor}}/{{latents}}_{{model}}_{{name}} --seed {{s}} {{common}}
    {{step}} sample-generator -- --extractor runs/dpmi/even_{{s}}/{{extractor}}/extractor/extractor.pt --model runs/dpmi/even_{{s}}/{{extractor}}/{{latents}}_{{model}}_{{name}}/latent_model.pt --only-classes "0,2,4,6,8" --num-samples 10000 --output-dir runs/dpmi/even_{{s}}/{{extractor}}/{{latents}}_{{model}}_{{name}}/samples --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/dpmi/even_{{s}}/{{extractor}}/{{latents}}_{{model}}_{{name}}/samples --only-classes "0,2,4,6,8" --test-dir {{datasets}} --classifiers "scatter-linear,small-cnn" --seeds 1 --output-dir runs/dpmi/even_{{s}}/{{extractor}}/{{latents}}_{{model}}_{{name}}/score --config {{config}} --seed {{s}} {{common}}

even := "--records 29492"

# The seed's comparison as one table: extractor, latents, model, activation, clipping norm, epsilon, and the original's settings
dpmi-grid: dpmi-split (dpmi-cell "ae" "search" "vae" (even + " --noise-multiplier 0.6 --expected-batch 64 --steps 24000 --kl-weight 1 --delta 1e-6") "original") (dpmi-cell "ae" "encoder" "vae" (even + " --epsilon 10") "10") (dpmi-cell "ae" "search" "vae" (even + " --epsilon 10") "10") (dpmi-cell "vae" "encoder" "vae" (even + " --epsilon 10") "10") (dpmi-cell "gan" "search" "vae" (even + " --epsilon 10") "10") (dpmi-cell "ae" "encoder" "vae" (even + " --epsilon 10 --activation tanh") "tanh_10") (dpmi-cell "ae" "encoder" "vae" (even + " --epsilon 10 --clipping-norm 0.05") "clip0.05_10") (dpmi-cell "ae" "encoder" "vae" (even + " --epsilon 10 --clipping-norm 0.25") "clip0.25_10") (dpmi-cell "ae" "encoder" "vae" (even + " --epsilon 1") "1") (dpmi-cell "ae" "encoder" "wgan" (even + " --epsilon 10") "10") (dpmi-cell "ae" "encoder" "gaussian" "--epsilon 10" "10") (dpmi-cell "ae" "encoder" "gaussian" "--epsilon 1" "1")
    cargo xtask results runs/dpmi

# DP-FETA in small: the MNIST subset of this repository plays the private data, a few minutes
feta-demo epsilon="10" s="42":
    {{step}} query-central-images -- --data-dir data/mnist-subset --records 6000 --query-rate 0.5 --expected-batch 256 --steps 100 --epsilon {{epsilon}} --output-dir runs/feta/demo_{{epsilon}}_{{s}}/central --seed {{s}} {{common}}
    {{step}} pretrain-diffusion -- --images runs/feta/demo_{{epsilon}}_{{s}}/central/central_images.npz --nf 8 --num-res-blocks 1 --steps 300 --learning-rate 1e-3 --ema-decay 0.99 --output-dir runs/feta/demo_{{epsilon}}_{{s}}/pretrained --seed {{s}} {{common}}
    {{step}} finetune-diffusion -- --data-dir data/mnist-subset --init runs/feta/demo_{{epsilon}}_{{s}}/pretrained/diffusion.safetensors --ledger runs/feta/demo_{{epsilon}}_{{s}}/central/privacy_ledger.jsonl --records 6000 --expected-batch 256 --steps 100 --noise-draws 2 --micro-batch 16 --clipping-norm 0.1 --learning-rate 1e-3 --ema-decay 0.99 --output-dir runs/feta/demo_{{epsilon}}_{{s}}/diffusion --seed {{s}} {{common}}
    {{step}} sample-diffusion -- --model runs/feta/demo_{{epsilon}}_{{s}}/diffusion/diffusion_ema.safetensors --num-samples 1000 --num-steps 20 --output-dir runs/feta/demo_{{epsilon}}_{{s}}/generated --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/feta/demo_{{epsilon}}_{{s}}/generated/gen.npz --test-dir data/mnist-subset --classifiers mlp --seeds 1 --output-dir runs/feta/demo_{{epsilon}}_{{s}}/scores --seed {{s}} {{common}}

# DP-FETA on two cores, in at most 90 minutes as planned: `just feta-cpu 10 1 fashion-mnist` (needs data-mnist, data-fashion)
feta-cpu epsilon="1" s="42" data="mnist":
    {{step}} query-central-images -- --data-dir {{datasets}} --dataset {{data}} --expected-batch 512 --steps 400 --epsilon {{epsilon}} --output-dir runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/central --seed {{s}} {{common}}
    {{step}} pretrain-diffusion -- --images runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/central/central_images.npz --nf 8 --num-res-blocks 1 --steps 600 --learning-rate 1e-3 --output-dir runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/pretrained --seed {{s}} {{common}}
    {{step}} finetune-diffusion -- --data-dir {{datasets}} --dataset {{data}} --init runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/pretrained/diffusion.safetensors --ledger runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/central/privacy_ledger.jsonl --expected-batch 512 --steps 400 --noise-draws 4 --micro-batch 8 --clipping-norm 0.1 --learning-rate 1e-3 --ema-decay 0.99 --output-dir runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/diffusion --seed {{s}} {{common}}
    {{step}} sample-diffusion -- --model runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/diffusion/diffusion_ema.safetensors --num-samples 10000 --num-steps 30 --output-dir runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/generated --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/generated/gen.npz --test-dir {{datasets}} --test-set {{data}} --output-dir runs/feta/cpu_{{data}}_{{epsilon}}_{{s}}/scores --config {{config}} {{common}}

# DP-FETA with the original's network on one large GPU (needs data-mnist, data-fashion)
feta-h100 epsilon="1" s="42" data="mnist":
    {{step}} query-central-images -- --data-dir {{datasets}} --dataset {{data}} --expected-batch 4000 --steps 600 --epsilon {{epsilon}} --output-dir runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/central --seed {{s}} {{common}}
    {{step}} pretrain-diffusion -- --images runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/central/central_images.npz --nf 32 --steps 2000 --output-dir runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/pretrained --seed {{s}} {{common}}
    {{step}} finetune-diffusion -- --data-dir {{datasets}} --dataset {{data}} --init runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/pretrained/diffusion.safetensors --ledger runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/central/privacy_ledger.jsonl --expected-batch 4000 --steps 600 --noise-draws 8 --ema-decay 0.99 --output-dir runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/diffusion --seed {{s}} {{common}}
    {{step}} sample-diffusion -- --model runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/diffusion/diffusion_ema.safetensors --num-samples 60000 --num-steps 50 --batch-size 1000 --output-dir runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/generated --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/generated/gen.npz --test-dir {{datasets}} --test-set {{data}} --output-dir runs/feta/h100_{{data}}_{{epsilon}}_{{s}}/scores --config {{config}} {{common}}

# DP-FETA with the original's settings, hours on four GPUs (needs data-mnist, data-fashion)
feta-full epsilon="1" s="42" data="mnist":
    {{step}} query-central-images -- --data-dir {{datasets}} --dataset {{data}} --expected-batch 4000 --steps 2250 --epsilon {{epsilon}} --output-dir runs/feta/full_{{data}}_{{epsilon}}_{{s}}/central --seed {{s}} {{common}}
    {{step}} pretrain-diffusion -- --images runs/feta/full_{{data}}_{{epsilon}}_{{s}}/central/central_images.npz --nf 32 --steps 2000 --output-dir runs/feta/full_{{data}}_{{epsilon}}_{{s}}/pretrained --seed {{s}} {{common}}
    {{step}} finetune-diffusion -- --data-dir {{datasets}} --dataset {{data}} --init runs/feta/full_{{data}}_{{epsilon}}_{{s}}/pretrained/diffusion.safetensors --ledger runs/feta/full_{{data}}_{{epsilon}}_{{s}}/central/privacy_ledger.jsonl --expected-batch 4000 --steps 2250 --noise-draws 32 --output-dir runs/feta/full_{{data}}_{{epsilon}}_{{s}}/diffusion --seed {{s}} {{common}}
    {{step}} sample-diffusion -- --model runs/feta/full_{{data}}_{{epsilon}}_{{s}}/diffusion/diffusion_ema.safetensors --num-samples 60000 --num-steps 50 --batch-size 1000 --output-dir runs/feta/full_{{data}}_{{epsilon}}_{{s}}/generated --seed {{s}} {{common}}
    {{step}} score-release -- --release runs/feta/full_{{data}}_{{epsilon}}_{{s}}/generated/gen.npz --test-dir {{datasets}} --test-set {{data}} --output-dir runs/feta/full_{{data}}_{{epsilon}}_{{s}}/scores --config {{config}} {{common}}

# Put run folders beside each other: a public decoder and one VAE per teacher (after nine-k-digits and teacher-vae-pipeline)
compare-approaches:
    {{step}} compare-approaches -- --approach "public-decoder={{base}}/nine_k_digits" --approach "teacher-vae={{base}}/teacher_vae" --teacher-shard-base {{shards}} --output-dir {{base}}/comparison --seed {{seed}} {{common}}

# Score the set of a run folder beside public data alone: `just score runs/full/seed_42/combined runs/full/seed_42/score`
score release out:
    {{step}} score-release -- --release {{release}} --test-dir {{datasets}} --output-dir {{out}} --config {{config}} --seed {{seed}} {{common}}

# The best preset at full size: 250 teachers on full MNIST, public digits alone, three seeds, controls, a table (needs data-mnist)
full: build prepare-shards best-teachers (full-seed "42" "123") (full-seed "43" "124") (full-seed "44" "125")
    cargo xtask results runs/full

# Train the best preset's teachers: with augmentation, without a look at the test images; goes on where it was stopped
best-teachers:
    {{step}} train-teachers -- --data-dir {{datasets}} --shard-indices {{shards}}/shard_indices.json --num-models 250 --skip-test --config config/best.json --output-dir {{best_nets}} --seed {{seed}} {{common}}

# One seed of `full`, from the decoder on: `just full-seed 45 126`, the second number for pools
full-seed s pools:
    {{step}} pretrain-decoder -- --dataset digits --config config/best.json --out-dir runs/full/seed_{{s}}/decoder --seed {{s}} {{common}}
    {{step}} batch-label-filter -- --generate-candidates-per-teacher --discard-candidates --decoder-path runs/full/seed_{{s}}/decoder/decoder.pth --teachers-dir {{best_nets}} --teacher-shard-base {{shards}} --shard-metadata-base {{shards}} --num-teachers 250 --quota false --config config/best.json --output-dir runs/full/seed_{{s}}/teachers --seed {{pools}} {{common}}
    {{step}} combine -- --teachers-dir runs/full/seed_{{s}}/teachers --output runs/full/seed_{{s}}/combined --seed {{s}} {{common}}
    {{step}} vote-label -- --samples runs/full/seed_{{s}}/combined/combined_synthetic_samples.pt --labels runs/full/seed_{{s}}/combined/combined_synthetic_labels.csv --teachers-dir {{best_nets}} --panel 30 --config config/best.json --output runs/full/seed_{{s}}/combined --seed {{s}} {{common}}
    {{step}} train-student -- --samples runs/full/seed_{{s}}/combined/combined_synthetic_samples.pt --labels runs/full/seed_{{s}}/combined/voted_labels.csv --soft-labels runs/full/seed_{{s}}/combined/voted_soft_labels.pt --config config/best.json --output-dir runs/full/seed_{{s}}/student --seed {{s}} {{common}}
    {{step}} train-student -- --public-control --dataset digits --config config/public_control.json --output-dir runs/full/seed_{{s}}/public_control --seed {{s}} {{common}}
    {{step}} train-student -- --samples runs/full/seed_{{s}}/combined/combined_synthetic_samples.pt --labels runs/full/seed_{{s}}/combined/voted_labels.csv --relabel-with runs/full/seed_{{s}}/public_control/student_model_final.pth --relabel-soft --config config/best.json --output-dir runs/full/seed_{{s}}/relabelled_control --seed {{s}} {{common}}
    {{step}} evaluate-student -- --model runs/full/seed_{{s}}/student/student_model_final.pth --public-control-model runs/full/seed_{{s}}/public_control/student_model_final.pth --relabelled-control-model runs/full/seed_{{s}}/relabelled_control/student_model_final.pth --mnist-dir {{datasets}} --config config/best.json --output runs/full/seed_{{s}}/student/evaluation_report.json {{common}}

# Remove runs/; data sets and builds stay
clean:
    cargo xtask clean
