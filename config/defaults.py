"""Every option, its default and what it means; the defaults are CLIP-ReID's."""

from __future__ import annotations

from yacs.config import CfgNode

_C = CfgNode()

# ---------------------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
_C.MODEL.DEVICE = "auto"  # auto | cpu | cuda | mps; auto = the best there is
_C.MODEL.DEVICE_ID = "0"  # number of the CUDA device when DEVICE is cuda or auto
_C.MODEL.NAME = "RN50"  # ViT-B-16, RN50, another OpenAI CLIP of open_clip, or a JSON model config;
# with DSGL also ImageNet's resnet18 .. resnet152, resnet50_ibn_a, resnet101_ibn_a
_C.MODEL.LAST_STRIDE = 1  # stride of the last ResNet stage, 1 | 2; a ViT has none
_C.MODEL.PRETRAIN_PATH = ""  # pre-trained weights in a local file; empty = cache or download
_C.MODEL.PRETRAIN_CHOICE = "clip"  # clip = CLIP's (or ImageNet's) weights | none = random
_C.MODEL.NECK = "bnneck"  # bnneck = batch norm before the classifiers | no = none
_C.MODEL.TEXT_TOWER = True  # False = baseline: no prompts, no text encoder, no i2t loss
_C.MODEL.PROMPT = ""  # noun ("cow") or "A photo of a {context} cow."; empty = by data set
_C.MODEL.STRIDE_SIZE = [16, 16]  # rows, columns between patches of a ViT; below 16 they overlap
_C.MODEL.SIE_CAMERA = False  # learn an embedding per training camera (side information, ViT only)
_C.MODEL.SIE_VIEW = False  # learn an embedding per viewpoint; with SIE_CAMERA: per pair
_C.MODEL.SIE_COE = 3.0  # factor on the side-information embedding
_C.MODEL.ID_LOSS_TYPE = "softmax"  # the only identity loss there is
_C.MODEL.ID_LOSS_WEIGHT = 1.0  # weight of the summed cross-entropy of both classifiers; 0 = none
_C.MODEL.IF_LABELSMOOTH = True  # label smoothing 0.1 in the id and i2t losses
_C.MODEL.METRIC_LOSS_TYPE = "triplet"  # triplet | center | triplet_center | none
_C.MODEL.TRIPLET_LOSS_WEIGHT = 1.0  # weight of the summed triplet losses
_C.MODEL.TRIPLET_FEATURES = ("last", "final", "projected")  # features with a triplet loss
_C.MODEL.NO_MARGIN = False  # True = soft margin: softplus(d_ap - d_an) instead of SOLVER.MARGIN
_C.MODEL.IF_WITH_CENTER = False  # True adds the center loss whatever METRIC_LOSS_TYPE says
_C.MODEL.I2T_LOSS_WEIGHT = 1.0  # weight of the image-to-text cross-entropy
_C.MODEL.COMPILE = False  # True = torch.compile the image encoder: minutes at first, then faster
_C.MODEL.GRAD_CHECKPOINTING = False  # True = less memory, a third more time per step (ViT only)
_C.MODEL.COS_LAYER = False  # no effect; kept for original files
_C.MODEL.DIST_TRAIN = False  # no effect; kept for original files
_C.MODEL.TRANSFORMER_TYPE = "None"  # no effect; kept for original files
_C.MODEL.DROP_PATH = 0.1  # no effect, CLIP's blocks drop nothing; kept for original files
_C.MODEL.DROP_OUT = 0.0  # no effect; kept for original files
_C.MODEL.ATT_DROP_RATE = 0.0  # no effect; kept for original files

# --------------------------------------------------------------------------------------- images
_C.INPUT = CfgNode()
_C.INPUT.SIZE_TRAIN = [384, 128]  # height, width in pixels of a training image
_C.INPUT.SIZE_TEST = [384, 128]  # the same in evaluation and for stage 1's cached features
_C.INPUT.PROB = 0.5  # probability of a horizontal flip
_C.INPUT.RE_PROB = 0.5  # probability of random erasing
_C.INPUT.PADDING = 10  # black pixels added on every side before the random crop
_C.INPUT.GRAYSCALE_PROB = 0.0  # probability of a training image without colours
_C.INPUT.JITTER_PROB = 0.0  # probability of colour jitter
_C.INPUT.JITTER = [0.15, 0.1, 0.05, 0.05]  # its strength: brightness, contrast, saturation, hue
_C.INPUT.AUGMIX_PROB = 0.0  # probability of AugMix
_C.INPUT.TEST_INTERPOLATION = "bilinear"  # bilinear | bicubic, when evaluation images are resized
_C.INPUT.NORMALIZATION = "fixed"  # fixed = PIXEL_MEAN and PIXEL_STD | instance = each image's own
_C.INPUT.PIXEL_MEAN = [0.485, 0.456, 0.406]  # mean of R, G, B (0..1) in the normalization
_C.INPUT.PIXEL_STD = [0.229, 0.224, 0.225]  # standard deviation of R, G, B in the normalization
_C.INPUT.CACHE = "auto"  # training images, once resized, stay in: none = read from files always |
# ram | device = MODEL.DEVICE's memory, where batches are augmented then | auto = what fits and pays
_C.INPUT.ON_BAD_IMAGE = "error"  # error = stop and name the file | skip = leave out, count and log

# ------------------------------------------------------------------------------------- data sets
_C.DATASETS = CfgNode()
_C.DATASETS.NAMES = ("market1501",)  # training sources: registry names, folders or CSV files
_C.DATASETS.TARGETS = ()  # data sets to evaluate on; empty = the test splits of NAMES
_C.DATASETS.USE_ALL = False  # True = train on the sources' query and gallery images as well
_C.DATASETS.PROTOCOL = ""  # the published protocol that this is: results name it, --compare uses it
_C.DATASETS.ROOT_DIR = "../data"  # folder that holds the data sets; also from REID_DATA

_C.DATALOADER = CfgNode()
_C.DATALOADER.NUM_WORKERS = 8  # processes that decode images; 0 = in the main process
_C.DATALOADER.SAMPLER = "softmax"  # softmax = shuffle, no triplet loss | softmax_triplet = P x K |
# dfgs_text | dfgs_image = walks over look-alike identities | gs_text | gs_image = nearest ones
_C.DATALOADER.NUM_INSTANCE = 16  # K, images of an identity in a batch; P = IMS_PER_BATCH / K

_C.DATALOADER.DFGS = CfgNode()  # the graph of look-alike identities, for dfgs_* and gs_*
_C.DATALOADER.DFGS.PRESET = ""  # a release whose values hold where none are given; see docs/dfgs.md
_C.DATALOADER.DFGS.NUM_NEIGHBOURS = 10  # k, identities that the walk goes to from each; hits of k
_C.DATALOADER.DFGS.SKIP = 0  # m, nearest identities left out of the graph
_C.DATALOADER.DFGS.WALK = "depth_first"  # depth_first = the paper's | greedy = most hits
_C.DATALOADER.DFGS.SHUFFLE = True  # visit an identity's neighbours in random order
_C.DATALOADER.DFGS.MUTUAL = False  # True = walk only between identities that are near both ways
_C.DATALOADER.DFGS.MAX_VISITS = 0  # visits of an identity in an epoch; 0 = all its images
_C.DATALOADER.DFGS.ROTATE_DOMAINS = False  # True = every new start is in the next data set's turn
_C.DATALOADER.DFGS.NORMALIZE = False  # True = compare directions of the features only
_C.DATALOADER.DFGS.REFRESH_PERIOD = 1  # epochs between graphs of image features
_C.DATALOADER.DFGS.IMAGES_PER_ID = 1  # images whose mean feature stands for an identity

# -------------------------------------------------------------------------------------- training
_C.SOLVER = CfgNode()
_C.SOLVER.SEED = 1234  # seeds weights, sampling and augmentation
_C.SOLVER.DETERMINISTIC = False  # True = deterministic GPU kernels (slower); a CPU always is
_C.SOLVER.MARGIN = 0.3  # margin of the triplet loss
_C.SOLVER.AMP = "auto"  # auto | off | fp16 | bf16; losses and distances are always float32
_C.SOLVER.RESUME = ""  # auto = go on from OUTPUT_DIR/last.pth if it is there | path | empty = start

_C.SOLVER.STAGE0 = CfgNode()  # optional prior stage: the image encoder without text, on P x K
_C.SOLVER.STAGE0.MAX_EPOCHS = 0  # epochs; 0 = no such stage. Everything else is as in STAGE2

_C.SOLVER.STAGE1 = CfgNode()  # prompt stage
_C.SOLVER.STAGE1.WEIGHT = ""  # checkpoint with learned prompts: stage 1 is skipped
_C.SOLVER.STAGE1.IMS_PER_BATCH = 64  # cached image features in a batch
_C.SOLVER.STAGE1.OPTIMIZER_NAME = "Adam"  # Adam | AdamW | SGD
_C.SOLVER.STAGE1.MAX_EPOCHS = 100  # epochs
_C.SOLVER.STAGE1.BASE_LR = 3e-4  # learning rate after the warm-up
_C.SOLVER.STAGE1.MOMENTUM = 0.9  # of SGD
_C.SOLVER.STAGE1.WEIGHT_DECAY = 5e-4  # L2 (Adam, SGD) or decoupled (AdamW)
_C.SOLVER.STAGE1.WARMUP_EPOCHS = 5  # epochs of linear warm-up
_C.SOLVER.STAGE1.WARMUP_LR_INIT = 0.01  # learning rate at epoch 0 of the warm-up
_C.SOLVER.STAGE1.LR_MIN = 1.6e-5  # learning rate at the end of the cosine
_C.SOLVER.STAGE1.CHECKPOINT_PERIOD = 10  # epochs between kept checkpoints
_C.SOLVER.STAGE1.LOG_PERIOD = 100  # iterations between log lines
_C.SOLVER.STAGE1.WEIGHT_DECAY_BIAS = 5e-4  # no effect, prompts have no bias; for original files
_C.SOLVER.STAGE1.WARMUP_FACTOR = 0.01  # no effect, see WARMUP_LR_INIT; kept for original files
_C.SOLVER.STAGE1.WARMUP_ITERS = 500  # no effect, see WARMUP_EPOCHS; kept for original files
_C.SOLVER.STAGE1.WARMUP_METHOD = "linear"  # no effect; kept for original files
_C.SOLVER.STAGE1.COSINE_MARGIN = 0.5  # no effect; kept for original files
_C.SOLVER.STAGE1.COSINE_SCALE = 30  # no effect; kept for original files
_C.SOLVER.STAGE1.EVAL_PERIOD = 10  # no effect, prompts do not change ranks; for original files

_C.SOLVER.STAGE2 = CfgNode()  # image stage; also the only stage of the baseline
_C.SOLVER.STAGE2.IMS_PER_BATCH = 64  # images in a batch, P x K
_C.SOLVER.STAGE2.OPTIMIZER_NAME = "Adam"  # Adam | AdamW | SGD
_C.SOLVER.STAGE2.MAX_EPOCHS = 100  # epochs
_C.SOLVER.STAGE2.BASE_LR = 3e-4  # learning rate after the warm-up
_C.SOLVER.STAGE2.LARGE_FC_LR = False  # True = the classifiers learn at twice the rate
_C.SOLVER.STAGE2.BIAS_LR_FACTOR = 1.0  # factor on the learning rate of biases
_C.SOLVER.STAGE2.MOMENTUM = 0.9  # of SGD
_C.SOLVER.STAGE2.WEIGHT_DECAY = 5e-4  # of everything but biases
_C.SOLVER.STAGE2.WEIGHT_DECAY_BIAS = 5e-4  # of biases
_C.SOLVER.STAGE2.CENTER_LR = 0.5  # learning rate of the class centers (SGD)
_C.SOLVER.STAGE2.CENTER_LOSS_WEIGHT = 5e-4  # weight of the center loss when it is on
_C.SOLVER.STAGE2.GAMMA = 0.1  # factor on the learning rate at every step
_C.SOLVER.STAGE2.STEPS = (40, 70)  # epochs from which on the rate is reduced
_C.SOLVER.STAGE2.WARMUP_FACTOR = 0.01  # share of the learning rate the warm-up starts from
_C.SOLVER.STAGE2.WARMUP_ITERS = 500  # length of the warm-up, in epochs despite its name
_C.SOLVER.STAGE2.WARMUP_METHOD = "linear"  # linear | constant
_C.SOLVER.STAGE2.CHECKPOINT_PERIOD = 10  # epochs between kept checkpoints; the last is always kept
_C.SOLVER.STAGE2.LOG_PERIOD = 100  # iterations between log lines
_C.SOLVER.STAGE2.EVAL_PERIOD = 10  # epochs between evaluations; the last epoch is always evaluated
_C.SOLVER.STAGE2.WARMUP_EPOCHS = 5  # no effect, see WARMUP_ITERS; kept for original files
_C.SOLVER.STAGE2.WARMUP_LR_INIT = 0.01  # no effect, see WARMUP_FACTOR; kept for original files
_C.SOLVER.STAGE2.LR_MIN = 1.6e-5  # no effect, see GAMMA; kept for original files
_C.SOLVER.STAGE2.COSINE_MARGIN = 0.5  # no effect; kept for original files
_C.SOLVER.STAGE2.COSINE_SCALE = 30  # no effect; kept for original files

# ------------------------------------------------------------------ training without labels (DSGL)
_C.DSGL = CfgNode()  # optimizer, schedule and periods are SOLVER.STAGE2's, batches are anchors
_C.DSGL.ENABLED = False  # True = one stage without identity labels; train_dsgl.py sets it
_C.DSGL.POOLING = "gem"  # gem | avg | max | avg+max of the last map | clip = final and projected
_C.DSGL.EMBED_DIM = 0  # width of a linear layer after the pooling; 0 = none
_C.DSGL.DROPOUT = 0.0  # share of the unit feature's numbers that are dropped in training
_C.DSGL.FREEZE_PATCH_CONV = False  # True = a ViT's patch convolution stays as it is
_C.DSGL.ITERS = 400  # batches in an epoch; 0 = one pass over the clusters
_C.DSGL.STEP_SIZE = 20  # epochs between steps of the learning rate; 0 = at SOLVER.STAGE2.STEPS
_C.DSGL.CAMERA_AWARE = True  # images of a cluster in a batch come from other cameras than the first
_C.DSGL.RECLUSTER_EVERY = 1  # epochs between clusterings
_C.DSGL.EPS = 0.6  # DBSCAN: largest Jaccard distance of neighbours, 0..1
_C.DSGL.MIN_SAMPLES = 4  # DBSCAN: neighbours that make an image a core of a cluster
_C.DSGL.K1 = 30  # images in a neighbourhood, itself included
_C.DSGL.K2 = 6  # nearest images whose neighbourhoods are averaged
_C.DSGL.MEMORY = "DLhybrid"  # CM | CMhard | DLhybrid | DLhybrid_v2
_C.DSGL.MEM_LOSS = "hard"  # prototypes of the memory loss: hard (Market) | mean (MSMT17) | both
_C.DSGL.HARD_WEIGHT = 0.5  # weight of the hard prototypes where MEM_LOSS is both
_C.DSGL.MOMENTUM = 0.1  # share of the old prototype in an update of the memory
_C.DSGL.TEMPERATURE = 0.05  # of all softmaxes
_C.DSGL.LABEL_SMOOTHING = False  # True = 0.1 of the memory loss's target for other clusters
_C.DSGL.ORDERS = 2  # irrelevant labels per image: other clusters that it looks most like
_C.DSGL.W_DIS = 1.0  # weight of the disentangled loss (DLhybrid)
_C.DSGL.W_KL = 1.0  # weight of the relative entropy (DLhybrid); 0 = no second image per anchor
_C.DSGL.TAU_DIS = 0.5  # weight of disentangled prototypes in the disentangled loss
_C.DSGL.TAU_KL_POS = 0.8  # weight of the positive prototype in the guided prototypes
_C.DSGL.TAU_KL_NEG = 0.1  # weight of the negative prototypes in the guided prototypes
_C.DSGL.KL_DETACH = False  # True = no gradient through the guided prediction
_C.DSGL.FAITHFUL = False  # True = as published, with its dependence on the order of a batch

# ------------------------------------------------------------------------------------ evaluation
_C.TEST = CfgNode()
_C.TEST.IMS_PER_BATCH = 128  # images in a batch of evaluation
_C.TEST.WEIGHT = ""  # checkpoint to evaluate
_C.TEST.NECK_FEAT = "after"  # retrieval features before | after the BNNecks
_C.TEST.FEAT_NORM = True  # compare L2-normalized features
_C.TEST.IGNORE_SAME_CAMERA = True  # drop gallery images of the query's identity and camera
_C.TEST.MULTI_QUERY = False  # one query per identity and camera: the mean of its images' features
_C.TEST.BEFORE_TRAINING = False  # True = a training run also evaluates the untrained model
_C.TEST.CHUNK_MB = 512  # most memory for one block of the distance matrix, in MB
_C.TEST.RE_RANKING = False  # k-reciprocal re-ranking of the distances
_C.TEST.RE_RANKING_K1 = 50  # neighbours of the reciprocal sets
_C.TEST.RE_RANKING_K2 = 15  # neighbours of the local query expansion
_C.TEST.RE_RANKING_LAMBDA = 0.3  # share of the original distance in the re-ranked one
_C.TEST.DIST_MAT = "dist_mat.npy"  # no effect; kept for original files
_C.TEST.EVAL = False  # no effect; kept for original files

# ---------------------------------------------------------------------------------------- output
_C.OUTPUT_DIR = ""  # run folder; empty = runs/<folder and name of the config file>


def default_cfg() -> CfgNode:
    """A fresh copy of the tree of defaults."""
    return _C.clone()
